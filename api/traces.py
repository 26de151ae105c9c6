"""OpenTelemetry spans, one a request, when they are wanted and the extra `otel` is installed. Else nothing.

Where spans go is OpenTelemetry's own configuration (`OTEL_EXPORTER_OTLP_ENDPOINT` and so on): without it, nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from vsearch.errors import MissingExtra

from .request import Request


class Traces:
    """Raises MissingExtra when wanted and not installed."""

    def __init__(self, wanted: bool) -> None:
        self._tracer: Any = _tracer() if wanted else None

    def span(self, request: Request) -> AbstractContextManager[None]:
        """Around the whole of a request."""
        return nullcontext() if self._tracer is None else self._span(request)

    @contextmanager
    def _span(self, request: Request) -> Iterator[None]:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
        with self._tracer.start_as_current_span(request.method, context=extract(carrier), kind=SpanKind.SERVER) as span:
            yield
            route = "unknown" if request.endpoint is None else request.endpoint.path
            span.update_name(f"{request.method} {route}")
            span.set_attribute("http.request.method", request.method)
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", request.status)
            span.set_attribute("vsearch.request_id", request.id)
            if request.status >= 500:
                span.set_status(Status(StatusCode.ERROR))


def _tracer() -> Any:
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtra("traces need OpenTelemetry", "pip install 'vsearch-db[otel]'") from error
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # the program has not set one up itself
        provider = TracerProvider()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise MissingExtra("traces need OpenTelemetry's exporter", "pip install 'vsearch-db[otel]'") from error
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer("vsearch")
