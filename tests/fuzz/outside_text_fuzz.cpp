// Whatever the bytes are, what comes out of the one function for text from outside is a line that may be shown, of the length
// that was asked for, and passes once more as it is.
#include <string>

#include "core/outside_text.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace homeostat;
    if (size == 0) return 0;
    const std::size_t most = data[0] < 128 ? data[0] : std::size_t{data[0]} * 40;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    for (const std::string& out : {outside_text(text, most), visible_text(text, most)}) {
        fuzz::promise(fuzz::letters_of(out) <= most + 3, "it is longer than was asked for");
        fuzz::promise(visible_text(out, out.size()) == out, "it is not seen as it is");
    }
    return 0;
}
