// How answers look: tables for people, colours on terminals only, times, and which form was asked for. One thread.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"

namespace homeostat {

enum class Tint : std::uint8_t { plain, good, bad, warning, faint };

struct Cell {
    Cell(std::string t, Tint c = Tint::plain) : text(std::move(t)), tint(c) {}  // NOLINT(google-explicit-constructor)
    Cell(std::string_view t, Tint c = Tint::plain) : text(t), tint(c) {}        // NOLINT(google-explicit-constructor)
    Cell(const char* t, Tint c = Tint::plain) : text(t), tint(c) {}             // NOLINT(google-explicit-constructor)
    std::string text;
    Tint tint;
};

// Columns as wide as their widest cell, two blanks between, the last one free. Without headers there is no line of them.
class TextTable {
public:
    explicit TextTable(std::vector<std::string> headers) : headers_(std::move(headers)) {}
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
    bool empty() const noexcept { return rows_.empty(); }
    void print(std::ostream& out, bool colour, std::string_view indent = "") const;

private:
    std::vector<std::string> headers_;
    std::vector<std::vector<Cell>> rows_;
};

// True is good, False bad, Unknown a warning; `abnormal` conditions the other way round.
Tint condition_tint(std::string_view status, bool abnormal = false);

std::string printable(std::string_view text);  // one line, without anything a terminal would obey
std::string time_text(WallTime time);            // 2026-01-31T12:00:00Z
std::string age_text(WallTime from, WallTime now);  // 45s, 12m, 3h, 9d

enum class OutputForm : std::uint8_t { table, wide, json, yaml };
Result<OutputForm> output_form(std::string_view word);

}  // namespace homeostat
