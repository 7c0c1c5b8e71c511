// A terminal that a command draws on again and again: its size, lines cut to fit, and the other screen, which leaves what was
// there as it was. One thread.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

struct ScreenSize {
    std::size_t columns = 80;
    std::size_t lines = 24;
};
ScreenSize screen_size();  // of standard output

// At most `width` letters, the last an ellipsis where something is left out.
std::string cut_to(std::string_view text, std::size_t width);

// The first lines of `block` that fit, each cut; where some do not, the last line says how many more there are.
std::vector<std::string> fit_block(const std::vector<std::string>& block, ScreenSize size);

// Draws on the other screen from the first draw() until it ends.
class Screen {
public:
    explicit Screen(std::ostream& out) : out_(out) {}
    ~Screen();
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;

    void draw(const std::vector<std::string>& block);
    // Back to the usual screen, with the last block written there as a whole, so that it can be read on.
    void leave();

private:
    std::ostream& out_;
    std::vector<std::string> last_;
    bool on_ = false;
};

}  // namespace homeostat
