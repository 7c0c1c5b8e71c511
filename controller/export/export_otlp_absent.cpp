// Stands in for export_otlp.cpp in a build without opentelemetry-cpp (HOMEOSTAT_OTLP=OFF).
#include "controller/export/export_traces.hpp"

namespace homeostat {

Result<SendSpans> make_otlp_sender(std::string_view) {
    return invalid(
        "the environment asks for traces by OTLP, but this program was built without it; build it with HOMEOSTAT_OTLP=ON, or "
        "set OTEL_SDK_DISABLED=true");
}

}  // namespace homeostat
