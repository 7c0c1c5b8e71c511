#include "controller/config/chunkers.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "controller/config/config_lists.hpp"
#include "controller/config/config_values.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, 4> kOfChunker{"command", "timeout", "memory", "copies"};
constexpr std::string_view kNameLetters = "abcdefghijklmnopqrstuvwxyz0123456789_-";
constexpr std::uint64_t kMiB = 1ULL << 20U;

Result<std::string> chunker_line(const std::string& name, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::map) return invalid(fmt::format("chunker \"{}\" must be a map with a command", name));
    std::string options;
    std::string command;
    for (const auto& [key, value] : node.fields) {
        if (std::find(kOfChunker.begin(), kOfChunker.end(), key) == kOfChunker.end()) {
            return invalid(fmt::format("chunker \"{}\": \"{}\" is not known; it has command, timeout, memory and copies{}", name,
                                       key, did_you_mean(key, kOfChunker)));
        }
        const bool list = key == "command" && value.kind == YamlNode::Kind::list;
        if (list ? !std::all_of(value.items.begin(), value.items.end(), is_word) : !is_word(value))
            return invalid(fmt::format("chunker \"{}\": its {} holds what is no word without spaces and semicolons", name, key));
        if (key != "command") {
            options += fmt::format(" {}={}", key, value.scalar);
        } else if (list) {
            for (const YamlNode& word : value.items) command += ' ' + word.scalar;
        } else {
            command = ' ' + value.scalar;
        }
    }
    return name + options + command;
}

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> out;
    while (true) {
        const std::size_t begin = text.find_first_not_of(" \t\r\n");
        if (begin == std::string_view::npos) return out;
        const std::size_t end = std::min(text.find_first_of(" \t\r\n", begin), text.size());
        out.emplace_back(text.substr(begin, end - begin));
        text.remove_prefix(end);
    }
}

Status set_option(ChunkerProgram& program, const std::string& word) {
    const auto refuse = [&](std::string_view why) {
        return invalid(fmt::format("chunker \"{}\": \"{}\" {}", program.name, word, why));
    };
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (equals == std::string::npos) return refuse("is no absolute path of a program; no shell is involved");
    if (key == "timeout") {
        const std::optional<Millis> time = parse_duration(value);
        if (!time || *time < Millis(100) || *time > std::chrono::minutes(10)) return refuse("must be 100ms to 10m");
        program.timeout = *time;
    } else if (key == "memory") {
        const std::optional<std::uint64_t> size = parse_size(value);
        if (!size || *size < 16 * kMiB || *size > 1024 * 1024 * kMiB) return refuse("must be 16MiB to 1TiB");
        program.memory_mb = static_cast<std::uint32_t>(*size / kMiB);
    } else if (key == "copies") {
        const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), program.copies);
        if (failed != std::errc() || end != value.data() + value.size() || program.copies < 1 || program.copies > 64)
            return refuse("must be 1 to 64");
    } else {
        return refuse(
            fmt::format("is not known; before its program stand timeout=, memory= and copies={}", did_you_mean(key, kOfChunker)));
    }
    return {};
}

Result<ChunkerProgram> read_chunker(std::string_view text) {
    const std::vector<std::string> words = words_of(text);
    ChunkerProgram program;
    program.name = words.front();
    if (program.name.find_first_not_of(kNameLetters) != std::string::npos || program.name.size() > 63) {
        return invalid(
            fmt::format("\"{}\" is no name of a chunker; it has 1 to 63 of the letters a to z, digits, _ and -", program.name));
    }
    for (auto word = words.begin() + 1; word != words.end(); ++word) {
        if (!program.command.empty() || word->front() == '/') {
            program.command.push_back(*word);
        } else if (const Status set = set_option(program, *word); !set) {
            return set.error();
        }
    }
    if (program.command.empty())
        return invalid(fmt::format("chunker \"{}\" has no command; give the absolute path of a program", program.name));
    return program;
}

}  // namespace

Result<std::string> chunkers_line(const YamlNode& node) {
    std::string line;
    for (const auto& [name, value] : node.fields) {
        const Result<std::string> one = chunker_line(name, value);
        if (!one) return one;
        line += (line.empty() ? "" : "; ") + *one;
    }
    return line;
}

Result<std::vector<ChunkerProgram>> read_chunkers(std::string_view line) {
    std::vector<ChunkerProgram> out;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find(';'), line.size());
        const std::string_view one = line.substr(0, end);
        line.remove_prefix(std::min(end + 1, line.size()));
        if (words_of(one).empty()) continue;
        Result<ChunkerProgram> program = read_chunker(one);
        if (!program) return std::move(program).error();
        const bool twice = std::any_of(out.begin(), out.end(), [&](const ChunkerProgram& p) { return p.name == program->name; });
        if (twice) return invalid(fmt::format("chunker \"{}\" is registered twice", program->name));
        out.push_back(*std::move(program));
    }
    return out;
}

std::vector<ChunkerProgram> registered_chunkers(const Settings& settings) {
    Result<std::vector<ChunkerProgram>> programs = read_chunkers(settings.chunkers);
    return programs ? *std::move(programs) : std::vector<ChunkerProgram>();
}

ChunkPrograms::Maker make_chunker_maker(const Settings& settings, boost::asio::any_io_executor io, const Clock& clock,
                                        Telemetry telemetry) {
    ExecOptions options;
    // The variables of exec.environment are for providers: a chunker is given none.
    options.rules = {listed_words(settings.exec_allow), listed_words(settings.exec_read), {}};
    return [options, io = std::move(io), &clock, telemetry](const ChunkerProgram& program) {
        return ExecChunker::make(program, io, clock, telemetry, options);
    };
}

}  // namespace homeostat
