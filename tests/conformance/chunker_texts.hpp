// Texts that have broken chunkers before, and a generator that mixes their parts. Used by the chunker tests only.
#pragma once

#include <rapidcheck.h>

#include <string>
#include <utility>
#include <vector>

#include "reconcilers/chunk/segmenter.hpp"

namespace homeostat {

using NamedText = std::pair<std::string, std::string>;

inline std::string times(std::string_view part, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += part;
    return text;
}

inline const std::vector<std::string>& awkward_parts() {
    static const std::vector<std::string> parts{"word",
                                                "Mr. Smith went. ",
                                                "Is it 3.14? ",
                                                "\"Yes!\" (He said.) ",
                                                "e.g. this; ",
                                                "A.B.C. ",
                                                "...",
                                                "etc.) and ",
                                                "?! ",
                                                ", ",
                                                "U.S. Army. ",
                                                "a.\tB",
                                                "No:- \"x.\" y",
                                                " ",
                                                "  ",
                                                "\t",
                                                "\n",
                                                "\n\n",
                                                "\r\n",
                                                "\r",
                                                "\r\n\r\n",
                                                "\v",
                                                "\f",
                                                std::string("\0", 1),
                                                "\u00a0",
                                                "\u2028",
                                                "\u2029",
                                                "\u0085",
                                                "\u3000",
                                                "\u200b",
                                                "\ufeff",
                                                "\u00ad",
                                                "Grüße. ",
                                                "e\u0301",
                                                "\u0301",
                                                " \u0301",
                                                "\n\u0301",
                                                "a\u0301\u0302\u0303",
                                                "\u202fx",
                                                "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466",
                                                "\U0001F44D\U0001F3FD",
                                                "\U0001F1E9\U0001F1EA",
                                                "\U0001F1E9",
                                                "\u0600\U0001F1EB",
                                                "\u0600",
                                                "\u0600 ",
                                                "1\ufe0f\u20e3",
                                                "\u1112\u1161\u11ab",
                                                "한국어입니다. ",
                                                "日本語の文。次の文！",
                                                "中文字符",
                                                "ภาษาไทยไม่มีช่องว่าง",
                                                "שלום עולם. ",
                                                "\u202bمرحبا بالعالم؟\u202c ",
                                                "हिन्दी में क्षत्रिय। ",
                                                "\xff",
                                                "\xc3",
                                                "\xe2\x82",
                                                "\xf0\x9f\x87",
                                                "\xed\xa0\x80",
                                                "\xc0\x80",
                                                "\xf4\x90\x80\x80",
                                                "\x80\x80",
                                                "# Title\n",
                                                "## Überschrift \u201cA\u201d ##\n",
                                                "### deep\n\n",
                                                "###### six\n",
                                                "Setext\n===\n",
                                                "Two\nlines\n---\n",
                                                "---\n",
                                                "```\ncode # no title\n```\n",
                                                "~~~~\n",
                                                "- item\n",
                                                "1. one\n",
                                                "  - nested\n",
                                                "> quote\n",
                                                "| a | b |\n|---|---|\n| 1 | 2 |\n",
                                                "    indented\n"};
    return parts;
}

inline rc::Gen<std::string> random_text() {
    return rc::gen::map(rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(awkward_parts())),
                        [](const std::vector<std::string>& parts) {
                            std::string text;
                            for (const auto& part : parts) text += part;
                            return text;
                        });
}

inline std::vector<NamedText> awkward_texts() {
    std::string mixture;
    for (int round = 0; round < 3; ++round) {
        for (const auto& part : awkward_parts()) mixture += part;
    }
    return {{"mixture", mixture},
            {"families", times("\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466", 60)},
            {"flags", times("\U0001F1E9\U0001F1EA", 301) + "\U0001F1E9"},
            {"flags behind a prepended sign", "a\u0600" + times("\U0001F1E9\U0001F1EA", 301)},
            {"one grapheme", "e" + times("\u0301", 3000)},
            {"hangul jamo", times("\u1112\u1161\u11ab", 300)},
            {"crlf", times("line of text\r\n", 100) + times("\r\n", 50) + "end"},
            {"arabic", times("مرحبا بالعالم. كيف الحال؟ ", 60)},
            {"thai", times("ภาษาไทยไม่มีช่องว่างระหว่างคำ", 40)},
            {"chinese", times("这是一个句子。", 150)},
            {"ill-formed", times("text \xff\xfe\xc3( \xe2\x82 more. ", 80)},
            {"nul", times(std::string_view("a\0b. ", 5), 200)},
            {"no spaces", std::string(5000, 'x')},
            {"hard-wrapped", times("A sentence that goes on and on\nover two lines. Then another one\n", 40)},
            {"white space within", "begin" + std::string(9000, ' ') + "end" + std::string(9000, '\n') + "again"},
            {"headings only", times("# One\n## Two\n### Three\n", 80)},
            {"long heading", "# " + times("very long title ", 300) + "\n\n" + times("Body text. ", 300)},
            {"open fence", "# T\n\n```\n" + times("int main() { return 0; }  # no heading\n", 100)}};
}

// To be repeated to any length: each makes something grow that must not.
inline std::vector<NamedText> repeated_texts() {
    return {{"prose", "The same sentence again and again. It has a friend, too.\n\n"},
            {"one word", "x"},
            {"words", "word "},
            {"dots", ". "},
            {"flags", "\U0001F1E9"},
            {"combining marks", "\u0301"},
            {"families", "\U0001F468\u200D\U0001F469"},
            {"ill-formed", "\xff"},
            {"chinese", "中"},
            {"headings", "# \u00e9\n"},
            {"crlf", "\r\na"}};
}

}  // namespace homeostat
