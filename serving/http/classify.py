"""`POST /v1/classify`: images in, labels out, as plain JSON."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from model_repo.inception_v3 import DecodeError, ModelError, postprocess
from model_repo.inception_v3.postprocess import choose_top_k
from serving.errors import BadRequestError, UnsupportedMediaTypeError
from serving.http.admit import admit
from serving.http.body import read_body, read_files
from serving.http.schemas import CLASSIFY_BODY, Classification, ModelList, describe_errors
from serving.models.registry import Models, Served
from serving.protocol.metadata import IMAGE_SUFFIX
from serving.service import Labelled, Service

# What curl and other clients send by default.
_UNSPECIFIC = ("", "application/octet-stream", "application/x-www-form-urlencoded")


def build_router(service: Service) -> APIRouter:
    """Build the routes of labelmill's own protocol."""
    router = APIRouter(prefix="/v1", tags=["labelmill"])

    @router.post(
        "/classify",
        response_model=Classification,
        responses=describe_errors(400, 401, 404, 413, 415, 422, 503, 504),
        openapi_extra={"requestBody": CLASSIFY_BODY},
    )
    async def classify(
        request: Request,
        model: Annotated[
            str | None, Query(description="Name, or name:version.", examples=["inception_v3"])
        ] = None,
        top_k: Annotated[
            int | None, Query(ge=1, description="Labels for each image; 5 if not given.")
        ] = None,
        embedding: Annotated[bool, Query(description="With the embedding, if true.")] = False,
    ) -> Any:
        """Label images: one as the body, or several as files of a form."""
        _top_k(top_k, _find(service.models, model))  # before the body is read
        several = _is_form(request.headers.get("content-type", ""))
        async with admit(request, service) as (ticket, note):
            if several:
                files = await read_files(request, service.limits, note)
            else:
                files = [(None, await read_body(request, service.limits, note))]
            if len(files) == 1 and not files[0][1]:
                raise BadRequestError("the body is empty; send an image's bytes as the body")
            served = _find(service.models, model)
            count = _top_k(top_k, served)
            found = await service.label_images(served, [image for _, image in files], ticket)
        if len(found) == 1 and isinstance(found[0], DecodeError):
            raise found[0]
        labels = served.predictor.spec.labels
        predictions = [
            {"name": name} | _to_prediction(one, labels, count, embedding)
            for (name, _), one in zip(files, found, strict=True)
        ]
        # Not validated against `Classification` each time; tests check that.
        return JSONResponse(
            {
                "model": served.predictor.spec.name,
                "model_version": served.version,
                "weights_sha256": served.predictor.weights_sha256,
                "predictions": predictions,
            }
        )

    @router.get("/models", response_model=ModelList, responses=describe_errors(401))
    async def list_models() -> Any:
        """List the models that `model` can name."""
        found = [
            {
                "name": served.name,
                "version": served.version,
                "weights_sha256": served.predictor.weights_sha256,
                "classes": served.predictor.spec.num_classes,
            }
            for served in service.models.all()
            if not served.encoded
        ]
        return {"models": found}

    return router


def _find(models: Models, reference: str | None) -> Served:
    if reference is None:
        return models.first()
    name, _, version = reference.partition(":")
    served = models.find(name, version)
    # The image variant has the statistics, since encoded images come.
    return served if served.encoded else models.find(name + IMAGE_SUFFIX, version)


def _top_k(asked: int | None, served: Served) -> int:
    try:
        return choose_top_k(asked, served.predictor.spec)
    except ModelError as exc:
        raise BadRequestError(f"top_k: {exc}") from exc


def _is_form(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    is_form = media_type == "multipart/form-data"
    if not (is_form or media_type.startswith("image/") or media_type in _UNSPECIFIC):
        raise UnsupportedMediaTypeError(
            f"Content-Type {media_type!r} is not an image; send an image's bytes as image/jpeg (or "
            "image/png, application/octet-stream …), or files as multipart/form-data"
        )
    return is_form


def _to_prediction(
    one: Labelled | DecodeError, labels: tuple[str, ...], top_k: int, embedding: bool
) -> dict[str, Any]:
    if isinstance(one, DecodeError):
        return {"error_kind": one.kind, "error": str(one)}
    output, prepared = one.output, one.prepared
    assert prepared is not None
    best = postprocess(output.logits[None], labels, top_k)[0].labels
    prediction = {
        "width": prepared.width,
        "height": prepared.height,
        "flags": list(prepared.flags),
        "label": best[0].label,
        "score": best[0].score,
        "labels": [asdict(each) for each in best],
        "timing": {
            "decode_ms": round(one.decode_s * 1000, 3),
            "queue_ms": round(output.queue_s * 1000, 3),
            "forward_ms": round(output.forward_s * 1000, 3),
            "batch_size": output.batch_size,
        },
    }
    if embedding:
        prediction["embedding"] = output.embedding.tolist()
    return prediction
