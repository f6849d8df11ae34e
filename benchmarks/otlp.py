"""An OTLP/HTTP receiver for benchmarks.telemetry: it takes requests and counts the spans in them."""

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
    """Parses the requests here and not while they come, so that the receiver takes little CPU then."""
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
