#include "controller/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "core/log_fields.hpp"
#include "core/outside_text.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kMostOfLine = 4'000;

// With everything escaped that has to be.
std::string json_string(std::string text) {
    return nlohmann::json(std::move(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append(spdlog::memory_buf_t& out, std::string_view text) { out.append(text.data(), text.data() + text.size()); }

// Names that people declared stand in it as they are, and whoever is not ours may be quoted: on its way out it becomes one line.
std::string line_of(const spdlog::details::log_msg& message) {
    return outside_text({message.payload.data(), message.payload.size()}, kMostOfLine);
}

class TextMessage final : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
        append(out, line_of(message));
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<TextMessage>(); }
};

class JsonMessage final : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
        append(out, json_string(line_of(message)));
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonMessage>(); }
};

// What the line is about. Formatted by the thread that logs, whose fields they are.
class JsonFields final : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg&, const std::tm&, spdlog::memory_buf_t& out) override {
        for (const auto& [name, value] : LogFields::here()) {
            append(out, "," + json_string(std::string(name)) + ":" + json_string(visible_text(value)));
        }
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonFields>(); }
};

}  // namespace

void set_up_log(const Settings& settings, bool colour) {
    auto logger = std::make_shared<spdlog::logger>(
        "homeostat",
        std::make_shared<spdlog::sinks::stderr_color_sink_mt>(colour ? spdlog::color_mode::always : spdlog::color_mode::never));
    logger->set_level(spdlog::level::from_str(settings.log_level));
    if (settings.log_format == "json") {
        auto formatter = std::make_unique<spdlog::pattern_formatter>();
        formatter->add_flag<JsonMessage>('*').add_flag<JsonFields>('~').set_pattern(
            R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l","message":%*%~})");
        logger->set_formatter(std::move(formatter));
    } else {
        auto formatter = std::make_unique<spdlog::pattern_formatter>();
        formatter->add_flag<TextMessage>('*').set_pattern("%H:%M:%S.%e %^%-7l%$ %*");
        logger->set_formatter(std::move(formatter));
    }
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace homeostat
