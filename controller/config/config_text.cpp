// The table of settings as people read it.
#include <fmt/core.h>

#include <algorithm>

#include "controller/config/config.hpp"

namespace homeostat {

namespace {

std::string with_or(std::string_view choices) {
    std::string out;
    while (!choices.empty()) {
        const std::size_t bar = choices.find('|');
        const bool last = bar == std::string_view::npos;
        if (!out.empty()) out += last ? " or " : ", ";
        out += choices.substr(0, bar);
        choices.remove_prefix(last ? choices.size() : bar + 1);
    }
    return out;
}

std::string cell(std::string_view text) { return text.empty() ? std::string("(empty)") : fmt::format("`{}`", text); }

}  // namespace

std::string environment_name(const Setting& setting) { return environment_name(setting.name); }

std::string environment_name(std::string_view setting) {
    std::string name = "HOMEOSTAT_";
    for (const char c : setting) name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return name;
}

std::string bounds_text(const Setting& setting) {
    struct Describe {
        const Setting& s;
        std::string operator()(bool Settings::* /*field*/) const { return "true or false"; }
        std::string operator()(std::uint32_t Settings::* /*field*/) const {
            return fmt::format("a whole number, {} to {}", s.low, s.high);
        }
        std::string operator()(std::uint64_t Settings::* /*field*/) const {
            return fmt::format("a size such as 64MiB, {} to {}", s.low, s.high);
        }
        std::string operator()(double Settings::* /*field*/) const {
            return fmt::format("a number such as 0.25, {} to {}", s.low, s.high);
        }
        std::string operator()(Millis Settings::* /*field*/) const {
            return fmt::format("a duration such as 250ms, 15s or 2m, {} to {}", s.low, s.high);
        }
        std::string operator()(std::string Settings::* /*field*/) const {
            return s.low.empty() ? std::string("text") : with_or(s.low);
        }
    };
    return std::visit(Describe{setting}, setting.field);
}

YamlNode explain_config(const Config& config) {
    YamlNode all = YamlNode::map();
    for (std::size_t i = 0; i < setting_table().size(); ++i) {
        const Setting& s = setting_table()[i];
        YamlNode one = YamlNode::map();
        one.add("value", YamlNode::text(config.values[i].text));
        one.add("origin", YamlNode::text(config.values[i].origin));
        one.add("default", YamlNode::text(std::string(s.fallback)));
        one.add("bounds", YamlNode::text(bounds_text(s)));
        one.add("secret", YamlNode::boolean(s.secret));
        one.add("restart", YamlNode::boolean(s.restart));
        one.add("sentence", YamlNode::text(std::string(s.sentence)));
        all.add(std::string(s.name), std::move(one));
    }
    return all;
}

std::string settings_markdown() {
    std::string out = R"(# Settings

This page is written by `homeostat config --markdown`; edit controller/config/config_table.cpp instead.

A setting's value comes from the first of: a flag (`--set lease.ttl=20s`), the environment (`HOMEOSTAT_LEASE_TTL=20s`), the
configuration file, the profile, the default. The file is the one named by `--config`, else by `HOMEOSTAT_CONFIG`, else
`/etc/homeostat/homeostat.yaml` where it exists:

```yaml
profile: production
lease:
  ttl: 20s        # or lease.ttl: 20s
```

A name that is not a setting is refused wherever it stands; one that was a setting of an earlier version is read, with a warning that
says how it is written now. `homeostat config --explain` prints every setting with its value and where it came from. A secret is given by
reference (`env:NAME`, `file:PATH`) and never printed.

| setting | default | it must be | what it is |
| --- | --- | --- | --- |
)";
    for (const Setting& s : setting_table()) {
        std::string notes;
        if (s.secret) notes += " Secret.";
        if (!s.restart) notes += " Changed without a restart (SIGHUP).";
        out += fmt::format("| `{}` | {} | {} | {}{} |\n", s.name, cell(s.fallback), bounds_text(s), s.sentence, notes);
    }
    out +=
        "\n## Profiles\n\nA profile (`--profile NAME`, `HOMEOSTAT_PROFILE`, or `profile:` in the file) changes these "
        "defaults:\n\n";
    out += "| profile | setting | value |\n| --- | --- | --- |\n";
    for (const Profile& p : profile_table()) {
        for (const auto& [name, value] : p.overlay) out += fmt::format("| {} | `{}` | `{}` |\n", p.name, name, value);
    }
    return out;
}

}  // namespace homeostat
