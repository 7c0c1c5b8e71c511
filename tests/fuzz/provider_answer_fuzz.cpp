// Whatever an endpoint or a program answers, there are vectors as they were asked for, or an error with a message that may be
// shown once it has passed its edge.
#include <string>

#include "core/outside_text.hpp"
#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/http_error.hpp"
#include "reconcilers/embed/openai_answer.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace homeostat;

void check_error(const Error& error) {
    fuzz::letters_of(outside_text(error.message));
    fuzz::promise(error.message.size() < 64'000, "a message has no bounds");
    fuzz::promise(!error.retry_after || (*error.retry_after >= kMinRetryAfter && *error.retry_after <= kMaxRetryAfter),
                  "a wait has no bounds");
}

void check(const Result<Embeddings>& answer, std::size_t count, std::uint32_t dimensions) {
    if (!answer) return check_error(answer.error());
    fuzz::promise(answer->dimensions == dimensions, "the width is another than was asked for");
    fuzz::promise(answer->values.size() == count * dimensions, "there are not as many numbers as were asked for");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::size_t count = 1 + data[0] % 4;
    const std::uint32_t dimensions = 1 + data[1] / 4 % 8;
    const std::string text(reinterpret_cast<const char*>(data) + 2, size - 2);
    switch (data[1] % 4) {
        case 0: check(parse_openai_answer(text, count, dimensions), count, dimensions); break;
        case 1: check(parse_exec_answer(text, data[0], "m", count, dimensions), count, dimensions); break;
        default: {
            HttpAnswer answer;
            answer.status = data[1] % 4 == 2 ? 200 : 400 + data[0];
            answer.body = text;
            if (const std::size_t line = text.find('\n'); line != std::string::npos)
                answer.headers = {{"retry-after", text.substr(0, line)}, {"x-ratelimit-reset-requests", text.substr(0, line)}};
            if (answer.status != 200) {
                check_error(error_of_status(answer, "http://127.0.0.1/", WallTime{}));
            } else if (const std::optional<Error> error = error_inside(answer, "http://127.0.0.1/", WallTime{})) {
                check_error(*error);
            }
        }
    }
    return 0;
}
