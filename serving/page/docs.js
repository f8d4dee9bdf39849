// Shows the service's OpenAPI description, with forms to try it.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true });
