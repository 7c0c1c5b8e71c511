#include "controller/cli/text/screen.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace homeostat {

ScreenSize screen_size() {
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
    return {size.ws_col, size.ws_row};
}

std::string cut_to(std::string_view text, std::size_t width) {
    std::size_t letters = 0;
    std::size_t keep = 0;  // bytes of the first width - 1 letters
    for (std::size_t i = 0; i < text.size(); ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;  // within a letter
        if (++letters == width) keep = i;
    }
    if (letters <= width) return std::string(text);
    return width == 0 ? std::string() : std::string(text.substr(0, keep)) + "…";
}

std::vector<std::string> fit_block(const std::vector<std::string>& block, ScreenSize size) {
    std::vector<std::string> out;
    const bool all = block.size() <= size.lines;
    const std::size_t shown = all ? block.size() : size.lines - (size.lines > 0 ? 1 : 0);
    for (std::size_t i = 0; i < shown; ++i) out.push_back(cut_to(block[i], size.columns));
    if (!all && size.lines > 0) out.push_back(cut_to(fmt::format("… and {} more", block.size() - shown), size.columns));
    return out;
}

Screen::~Screen() { leave(); }

void Screen::draw(const std::vector<std::string>& block) {
    if (!on_) out_ << "\x1b[?1049h\x1b[?25l";
    on_ = true;
    last_ = block;
    // Line by line over what is there, so that nothing flickers; what is left of a longer block goes.
    out_ << "\x1b[H";
    const std::vector<std::string> lines = fit_block(block, screen_size());
    for (std::size_t i = 0; i < lines.size(); ++i) out_ << "\x1b[2K" << lines[i] << (i + 1 < lines.size() ? "\r\n" : "");
    out_ << "\x1b[J" << std::flush;
}

void Screen::leave() {
    if (!on_) return;
    on_ = false;
    out_ << "\x1b[?25h\x1b[?1049l";
    for (const std::string& line : last_) out_ << line << '\n';
    out_ << std::flush;
}

}  // namespace homeostat
