"""An OTLP/HTTP receiver for benchmarks.telemetry: it stores the requests and counts their spans."""

import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
bodies: list[bytes] = []


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/v1/traces")
async def traces(request: Request) -> Response:
    bodies.append(await request.body())
    return Response(media_type="application/x-protobuf")


@app.get("/spans")
async def spans() -> dict[str, int]:
    """Counts the spans; it parses only here, so that it takes no CPU while a bridge is measured."""
    parsed = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    return {
        "spans": sum(
            len(scope.spans)
            for request in parsed
            for of in request.resource_spans
            for scope in of.scope_spans
        )
    }


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
