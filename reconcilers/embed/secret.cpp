#include "reconcilers/embed/secret.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace homeostat {

namespace {

constexpr std::string_view kEnv = "env:";
constexpr std::string_view kFile = "file:";
constexpr std::size_t kMaxSecret = 64 * 1024;

Error refuse(std::string message) {
    return {.cls = ErrorClass::auth, .message = std::move(message), .origin = Origin::user, .code = std::string(kCredentialCode)};
}

Result<std::string> read_file(std::string_view reference) {
    const std::string path(reference.substr(kFile.size()));
    errno = 0;
    std::ifstream in(path, std::ios::binary);
    std::string text(kMaxSecret + 1, '\0');
    if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!in.is_open() || in.bad()) {
        return refuse(
            fmt::format("the credential {} cannot be read ({}); check that the file is there and that this process may "
                        "read it",
                        reference, std::strerror(errno)));
    }
    text.resize(static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxSecret)
        return refuse(fmt::format("the credential {} is over 64 KiB: is it the right file?", reference));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return text;
}

}  // namespace

bool is_secret_reference(std::string_view text) noexcept {
    return (text.starts_with(kEnv) && text.size() > kEnv.size()) || (text.starts_with(kFile) && text.size() > kFile.size());
}

Result<std::string> read_secret(std::string_view reference) {
    std::string secret;
    if (reference.starts_with(kEnv)) {
        const std::string name(reference.substr(kEnv.size()));
        const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
        if (value == nullptr) return refuse(fmt::format("the credential env:{} names a variable that is not set", name));
        secret = value;
    } else if (reference.starts_with(kFile)) {
        auto text = read_file(reference);
        if (!text) return text;
        secret = *std::move(text);
    } else {
        return refuse("a credential must be a reference, env:NAME or file:PATH; the secret itself must not be declared");
    }
    if (secret.empty()) return refuse(fmt::format("the credential {} is empty", reference));
    if (std::any_of(secret.begin(), secret.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
        return refuse(fmt::format("the credential {} holds a control character or several lines", reference));
    }
    return secret;
}

}  // namespace homeostat
