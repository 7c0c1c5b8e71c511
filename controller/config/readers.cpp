#include "controller/config/readers.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "controller/config/config.hpp"
#include "controller/config/config_lists.hpp"
#include "controller/config/config_values.hpp"
#include "reconcilers/embed/secret.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kSpaces = " \t\r\n";
constexpr std::array<std::string_view, 2> kOfReader{"role", "url"};

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(kSpaces);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

// Each with its role and all that follows; either may be empty.
std::vector<std::pair<std::string_view, std::string_view>> entries(std::string_view line) {
    std::vector<std::pair<std::string_view, std::string_view>> out;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find(';'), line.size());
        const std::string_view one = trimmed(line.substr(0, end));
        line.remove_prefix(std::min(end + 1, line.size()));
        if (one.empty()) continue;
        const std::size_t space = std::min(one.find_first_of(kSpaces), one.size());
        out.emplace_back(one.substr(0, space), trimmed(one.substr(space)));
    }
    return out;
}

}  // namespace

Result<std::string> readers_line(const YamlNode& node) {
    std::string line;
    for (const YamlNode& one : node.items) {
        if (one.kind != YamlNode::Kind::map) return invalid("each must be a map with role and url");
        for (const auto& [key, value] : one.fields) {
            if (std::find(kOfReader.begin(), kOfReader.end(), key) != kOfReader.end()) continue;
            return invalid(fmt::format("\"{}\" is not known; each has role and url{}", key, did_you_mean(key, kOfReader)));
        }
        const YamlNode* role = one.find("role");
        const YamlNode* url = one.find("url");
        if (role == nullptr || !is_word(*role)) return invalid("each must have a role, a name without spaces");
        if (url == nullptr || !is_word(*url)) {
            return invalid(
                fmt::format("role \"{}\": its url must be postgresql://… without spaces, or a reference to one "
                            "(env:NAME, file:PATH)",
                            role->scalar));
        }
        line += fmt::format("{}{} {}", line.empty() ? "" : "; ", role->scalar, url->scalar);
    }
    return line;
}

Status check_readers(std::string_view line) {
    std::vector<std::string_view> seen;
    for (const auto& [role, url] : entries(line)) {
        if (url.empty() || url.find_first_of(kSpaces) != std::string_view::npos ||
            (!is_secret_reference(url) && !url.starts_with("postgresql://") && !url.starts_with("postgres://"))) {
            return invalid(
                fmt::format("database.readers: role \"{}\" must be followed by postgresql://… without spaces, or by a "
                            "reference to an URL (env:NAME, file:PATH), and by ; where another follows",
                            role));
        }
        if (redact_url(url) != url) {
            return invalid(
                fmt::format("database.readers: the URL of role \"{}\" has a password in it; put a reference there "
                            "(env:NAME or file:PATH), or the password into PGPASSWORD or a password file",
                            role));
        }
        if (std::find(seen.begin(), seen.end(), role) != seen.end())
            return invalid(fmt::format("database.readers: role \"{}\" is there twice; the second is never asked", role));
        seen.push_back(role);
    }
    return {};
}

std::string shown_readers(std::string_view line) {
    std::string out;
    for (const auto& [role, url] : entries(line))
        out += fmt::format("{}{} {}", out.empty() ? "" : "; ", redact_url(role), redact_url(url));
    return out;
}

std::vector<ReaderLogin> reader_logins(const Settings& settings) {
    std::vector<ReaderLogin> out;
    for (const auto& [role, url] : entries(settings.database_readers)) {
        ReaderLogin login{std::string(role), std::string(url), "", fmt::format("database.readers, role \"{}\"", role)};
        if (is_secret_reference(url)) {
            Result<std::string> read = read_secret(url);
            if (!read) login.problem = read.error().message;
            login.url = read ? *std::move(read) : "";
        }
        out.push_back(std::move(login));
    }
    if (!settings.database_reader_url.empty()) out.push_back({"", settings.database_reader_url, "", "database.reader_url"});
    return out;
}

}  // namespace homeostat
