"""The text at the head of `/docs`; a test runs its examples."""

DESCRIPTION = """
Inception V3 behind HTTP: images in, labels out.

Label one image, or several:

    curl --data-binary @photo.jpg 'http://127.0.0.1:8000/v1/classify?top_k=3'
    curl -F image=@photo.jpg -F image=@scan.png http://127.0.0.1:8000/v1/classify

`/v2` is the Open Inference Protocol, as Triton speaks it: `tritonclient` and `perf_analyzer` work
as they are. `inception_v3` takes pixels (`UINT8 [B, 3, 299, 299]`), `inception_v3_image` takes
encoded images (`BYTES [B, 1]`):

    curl http://127.0.0.1:8000/v2/models/inception_v3
    echo '{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": ["'$(base64 -w0 photo.jpg)'"]}], "outputs": [{"name": "classification", "parameters": {"classification": 3}}]}' | curl --json @- http://127.0.0.1:8000/v2/models/inception_v3_image/infer

Every answer that is no success has the body `{"error": "…"}`. Where tokens are wanted, send one as
`Authorization: Bearer …`.
"""  # noqa: E501
