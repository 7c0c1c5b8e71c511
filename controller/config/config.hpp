// Settings: one table (config_table.cpp) gives every setting its name, sentence, default, bounds and place in `Settings`;
// reading, checking, --help, `homeostat config`, docs/settings.md and the chart's values follow from it.
//
// A value comes from the first of: a flag, the environment (HOMEOSTAT_<NAME>, dots as underscores), the file, the profile, the
// default. Nothing unknown is accepted anywhere. Loaded once, then constant; safe to read from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "controller/config/config_yaml.hpp"
#include "core/error.hpp"
#include "core/resource.hpp"

namespace homeostat {

// A member is named as its setting, with underscores for dots. What each means stands in config_table.cpp.
struct Settings {
    std::string database_url;  // resolved where it was given by reference; empty = libpq's own defaults and PG* variables
    std::string database_reader_url;  // likewise; empty = sources are read by that login
    std::string database_observe_url;  // likewise; empty = sweeps observe by that login
    Millis database_observe_max_lag{};
    std::uint32_t database_read_connections{};
    std::uint32_t database_write_connections{};
    std::uint32_t database_feed_connections{};
    Millis database_statement_timeout{};
    Millis database_lock_timeout{};
    Millis database_connect_timeout{};
    Millis database_answer_timeout{};
    Millis database_start_timeout{};
    bool database_prepare{};
    bool database_allow_superuser{};
    std::string log_level;
    std::string log_format;
    std::string http_listen;
    std::string http_token;
    std::string http_action_url;  // resolved where it was given by reference; empty = nothing is changed over HTTP
    std::string replica_name;
    Millis lease_ttl{};
    Millis lease_renew{};
    Millis claim_ttl{};
    Millis claim_heartbeat{};
    std::uint32_t loop_workers{};
    Millis loop_poll{};
    Millis loop_pass_timeout{};
    Millis loop_backoff_base{};
    Millis loop_backoff_cap{};
    std::uint32_t batch_documents{};
    std::uint64_t batch_bytes{};
    std::uint32_t batch_window{};
    std::uint32_t batch_max_attempts{};
    std::uint32_t batch_in_flight{};
    std::uint32_t batch_parallel_from{};
    Millis retry_base{};
    Millis retry_cap{};
    std::uint32_t breaker_failures{};
    double breaker_share{};
    Millis breaker_pause{};
    Millis breaker_pause_cap{};
    Millis breaker_refused_pause{};
    std::uint32_t sweep_slice{};
    Millis sweep_slice_target{};
    std::uint32_t sweep_rows_per_second{};
    double sweep_share{};
    double feed_overrun_share{};
    Millis drain_budget{};
    std::string embed_model_dir;  // absolute or as given; empty = no built-in model was found
    std::uint32_t embed_threads{};
    std::string secrets;  // as Outbound reads it
    std::string provider_allow_hosts;
    std::string exec_allow;
    std::string exec_read;
    std::string exec_environment;
    std::uint64_t cache_bytes{};
    Millis cache_ttl{};
    std::uint64_t cache_compress_above{};
    std::uint64_t cache_shared_bytes{};
    Millis cache_shared_ttl{};
    std::uint64_t memory_budget{};
    std::string strategy_change;
    std::string strategy_drift;
    std::string strategy_request;
    std::string strategy_retry;
    std::string strategy_throttled;
    std::string strategy_breaker_open;
    std::string strategy_transient;
    std::string strategy_bad_answer;
    std::string strategy_too_large;
    std::string strategy_content;
    std::string strategy_memory_pressure;
    std::uint32_t history_weeks{};
    std::uint32_t trace_keep{};
    std::uint64_t trace_bytes{};
    bool trace_older_names{};
    std::uint32_t journal_runs{};
    std::uint64_t journal_bytes{};
    std::uint32_t revision_keep{};
    std::uint32_t revision_keep_days{};
    std::uint32_t prune_floor{};
    std::string source_trusted_owners;  // names of roles, with commas between
    std::string database_readers;  // "ROLE URL; ..." as given, references unresolved (controller/config/readers.hpp)
    std::string chunkers;  // as read_chunkers() reads it
};

// One row of the table.
struct Setting {
    using Field = std::variant<bool Settings::*, std::uint32_t Settings::*, std::uint64_t Settings::*, double Settings::*,
                               Millis Settings::*, std::string Settings::*>;
    std::string_view name;
    Field field;  // bool, count, size in bytes, share, duration or text
    std::string_view fallback;
    std::string_view low;      // bounds, as a person would write them; for text: its choices with | between, or ""
    std::string_view high;
    bool secret;               // may be given as env:NAME or file:PATH; never in clear in a file; never printed in clear
    bool restart;              // false: taken up on SIGHUP
    std::string_view sentence;
};

// A name that a setting had, so that what was written for an earlier version is read.
struct FormerSetting {
    std::string_view name;
    std::string_view now;       // "" where there is no such thing any more
    std::string_view sentence;  // then: what there is instead
};

struct Profile {
    std::string_view name;
    std::vector<std::pair<std::string_view, std::string_view>> overlay;
};

std::span<const Setting> setting_table();
std::span<const FormerSetting> former_settings();
std::span<const Profile> profile_table();
std::string environment_name(std::string_view setting);
std::string environment_name(const Setting& setting);
std::string bounds_text(const Setting& setting);

// Where settings are looked for. Tests give their own.
struct ConfigSources {
    std::vector<std::pair<std::string, std::string>> flags;        // name, value
    std::vector<std::pair<std::string, std::string>> environment;  // every variable; others than HOMEOSTAT_* are passed over
    std::optional<std::string> file;                               // named by --config
    std::optional<std::string> profile;                            // named by --profile
    std::string default_file = "/etc/homeostat/homeostat.yaml";    // read only where it exists
    std::string binary_dir;                                        // the built-in model is looked for beside it

    static ConfigSources of_process();
};

struct SettingValue {
    std::string text;    // as given; redacted where secret
    std::string origin;  // "flag", "environment HOMEOSTAT_X", "FILE:LINE", "profile production", "default"
};

struct Config {
    Settings settings;
    std::vector<SettingValue> values;  // one a row of the table, in its order
    std::string profile;               // "" = none
    std::vector<std::string> warnings;  // of what was read all the same, and how it is written now
};

// Every fault found is a line of the message.
Result<Config> load_config(const ConfigSources& sources);

// All settings with value, origin, default, bounds and sentence.
YamlNode explain_config(const Config& config);
// The table as docs/settings.md.
std::string settings_markdown();

}  // namespace homeostat
