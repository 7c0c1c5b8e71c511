#include "controller/config/config.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "controller/config/chunkers.hpp"
#include "controller/config/config_lists.hpp"
#include "controller/config/config_values.hpp"
#include "controller/config/http_settings.hpp"
#include "controller/config/readers.hpp"
#include "reconcilers/embed/outbound.hpp"
#include "reconcilers/embed/secret.hpp"

extern char** environ;  // NOLINT: POSIX gives the environment in this way only

namespace homeostat {

namespace {

constexpr std::string_view kPrefix = "HOMEOSTAT_";
// Not settings, and not slips either: what selects the file and the profile, what Kubernetes puts into every pod when a Service
// is named homeostat, and what the tests and fault points of our own use.
constexpr std::array<std::string_view, 7> kOtherVariables{"CONFIG", "PROFILE", "SERVICE_", "PORT", "TEST_", "FAULT", "PLANT"};

struct Given {
    std::string text;
    std::string origin;
    bool in_file = false;
};

// Settings as they come in from the sources, and everything that is wrong with them.
class Loader {
public:
    explicit Loader(const ConfigSources& sources) : sources_(sources), given_(setting_table().size()) {}

    Result<Config> load() {
        read_defaults();
        const auto file = read_file();
        choose_profile(file);
        // Of two names of one setting in the same place the new one counts.
        for (const auto& [name, given] : file) set_former(name, given);
        for (const auto& [name, given] : file) set(name, given);
        read_former_environment();
        read_environment();
        for (const auto& [name, value] : sources_.flags) set_former(name, {value, "flag"});
        for (const auto& [name, value] : sources_.flags) set(name, {value, "flag"});
        for (std::size_t i = 0; i < given_.size(); ++i) assign(i);
        if (problems_.empty()) complete();
        if (problems_.empty()) check();
        if (!problems_.empty()) return invalid(joined());
        return std::move(config_);
    }

private:
    using FileSettings = std::vector<std::pair<std::string, Given>>;

    void read_defaults() {
        for (std::size_t i = 0; i < given_.size(); ++i) given_[i] = {std::string(setting_table()[i].fallback), "default"};
    }

    FileSettings read_file() {
        std::string path = sources_.file.value_or("");
        if (path.empty()) path = variable("HOMEOSTAT_CONFIG").value_or("");
        if (path.empty() && std::filesystem::exists(sources_.default_file)) path = sources_.default_file;
        if (path.empty()) return {};
        std::ifstream in(path, std::ios::binary);
        if (!in || std::filesystem::is_directory(path)) {
            problems_.push_back(fmt::format("the configuration file {} cannot be read; check the name and the rights", path));
            return {};
        }
        const std::string text{std::istreambuf_iterator<char>(in), {}};
        auto documents = read_yaml(text, path);
        if (!documents) {
            problems_.push_back(documents.error().message);
            return {};
        }
        FileSettings found;
        for (const YamlNode& document : *documents) flatten(document, "", path, found);
        return found;
    }

    // Both `lease: {ttl: 15s}` and `lease.ttl: 15s` are read.
    void flatten(const YamlNode& node, const std::string& name, const std::string& path, FileSettings& found) {
        const std::string at = fmt::format("{}:{}", path, node.line);
        const bool list = node.kind == YamlNode::Kind::list, map = node.kind == YamlNode::Kind::map;
        if (map && name == "secrets") return take_line(name, at, secrets_line(node), found);
        if (map && name == "chunkers") return take_line(name, at, chunkers_line(node), found);
        if (list && name == "database.readers") return take_line(name, at, readers_line(node), found);
        if (list && takes_list(name)) return take_line(name, at, list_line(node), found);
        if (map) {
            for (const auto& [key, value] : node.fields) flatten(value, name.empty() ? key : name + '.' + key, path, found);
        } else if (list) {
            problems_.push_back(fmt::format("{}: {} is a list; a setting has one value", at, name.empty() ? "the file" : name));
        } else if (name.empty()) {
            problems_.push_back(fmt::format("{}: the file is not a map of settings", at));
        } else {
            found.emplace_back(name, Given{node.kind == YamlNode::Kind::null ? "" : node.scalar, at, true});
        }
    }

    void take_line(const std::string& name, const std::string& where, const Result<std::string>& line, FileSettings& found) {
        if (line) {
            found.emplace_back(name, Given{*line, where, true});
        } else {
            problems_.push_back(fmt::format("{}: {}: {}", where, name, line.error().message));
        }
    }

    void choose_profile(const FileSettings& file) {
        for (const auto& [name, given] : file) {
            if (name == "profile") config_.profile = given.text;
        }
        if (const auto v = variable("HOMEOSTAT_PROFILE"); v && !v->empty()) config_.profile = *v;
        if (sources_.profile) config_.profile = *sources_.profile;
        if (config_.profile.empty()) return;
        std::vector<std::string_view> names;
        for (const Profile& p : profile_table()) {
            names.push_back(p.name);
            if (p.name != config_.profile) continue;
            for (const auto& [name, value] : p.overlay) set(name, {std::string(value), fmt::format("profile {}", p.name)});
            return;
        }
        problems_.push_back(fmt::format("profile \"{}\" is not known; it is development, staging or production{}",
                                        config_.profile, did_you_mean(config_.profile, names)));
    }

    void read_environment() {
        for (const auto& [name, value] : sources_.environment) {
            if (!name.starts_with(kPrefix)) continue;
            const std::string_view rest = std::string_view(name).substr(kPrefix.size());
            const auto table = setting_table();
            const auto found =
                std::find_if(table.begin(), table.end(), [&](const Setting& s) { return environment_name(s) == name; });
            if (found != table.end()) {
                given_[static_cast<std::size_t>(found - table.begin())] = {value, fmt::format("environment {}", name)};
                continue;
            }
            if (former([&](const FormerSetting& f) { return environment_name(f.name) == name; }) != nullptr) continue;
            if (std::any_of(kOtherVariables.begin(), kOtherVariables.end(), [&](auto other) { return rest.starts_with(other); }))
                continue;
            std::vector<std::string> names;
            for (const Setting& s : table) names.push_back(environment_name(s));
            const std::vector<std::string_view> views(names.begin(), names.end());
            problems_.push_back(fmt::format("environment: {} is not a setting{}", name, did_you_mean(name, views)));
        }
    }

    template <class P>
    static const FormerSetting* former(P matches) {
        const auto table = former_settings();
        const auto found = std::find_if(table.begin(), table.end(), matches);
        return found == table.end() ? nullptr : &*found;
    }

    void read_former_environment() {
        for (const auto& [name, value] : sources_.environment) {
            const FormerSetting* f = former([&](const FormerSetting& s) { return environment_name(s.name) == name; });
            if (f != nullptr) take_former(*f, name, environment_name(f->now), {value, fmt::format("environment {}", name)});
        }
    }

    void set_former(std::string_view name, const Given& given) {
        const FormerSetting* f = former([&](const FormerSetting& s) { return s.name == name; });
        if (f != nullptr) take_former(*f, name, std::string(f->now), given);
    }

    void take_former(const FormerSetting& f, std::string_view written, const std::string& now, const Given& given) {
        if (f.now.empty()) {
            config_.warnings.push_back(
                fmt::format("{}: {} is not a setting any more and is passed over; {}", given.origin, written, f.sentence));
            return;
        }
        config_.warnings.push_back(fmt::format("{}: {} is called {} now; it is read, rename it", given.origin, written, now));
        set(f.now, given);
    }

    void set(std::string_view name, Given given) {
        if (name == "profile" && given.in_file) return;
        if (former([&](const FormerSetting& f) { return f.name == name; }) != nullptr) return;  // taken before
        const auto table = setting_table();
        std::vector<std::string_view> names;
        for (std::size_t i = 0; i < table.size(); ++i) {
            if (table[i].name == name) {
                given_[i] = std::move(given);
                return;
            }
            names.push_back(table[i].name);
        }
        problems_.push_back(fmt::format("{}: \"{}\" is not a setting{}", given.origin, name, did_you_mean(name, names)));
    }

    void assign(std::size_t index) {
        const Setting& setting = setting_table()[index];
        Given& given = given_[index];
        if (setting.secret) resolve_secret(setting, given);
        const std::string_view text = given.text;
        const bool good =
            std::visit([&](auto field) { return assign_to(config_.settings.*field, setting, text); }, setting.field);
        if (!good) {
            problems_.push_back(
                fmt::format("{}: {} is \"{}\"; it must be {}", given.origin, setting.name, text, bounds_text(setting)));
        }
        config_.values.push_back({shown_.value_or(shown(setting, text)), given.origin});
        shown_.reset();
    }

    void resolve_secret(const Setting& setting, Given& given) {
        if (is_secret_reference(given.text)) {
            shown_ = given.text;
            auto secret = read_secret(given.text);
            if (secret) {
                given.text = *std::move(secret);
            } else {
                problems_.push_back(fmt::format("{}: {}: {}", given.origin, setting.name, secret.error().message));
            }
        } else if (given.in_file && shown(setting, given.text) != given.text) {
            problems_.push_back(fmt::format("{}: {} {}; put a reference there (env:NAME or file:PATH){}", given.origin,
                                            setting.name, is_url(setting) ? "has a password in it" : "is a secret",
                                            is_url(setting) ? ", or the password into PGPASSWORD or a password file" : ""));
        }
    }

    static bool is_url(const Setting& setting) { return setting.name.ends_with(".url") || setting.name.ends_with("_url"); }
    static std::string shown(const Setting& setting, std::string_view text) {
        if (!setting.secret) return setting.name == "database.readers" ? shown_readers(text) : std::string(text);
        return is_url(setting) ? redact_url(text) : std::string(text.empty() ? "" : "***");
    }

    static bool assign_to(bool& to, const Setting& /*setting*/, std::string_view text) {
        to = text == "true";
        return to || text == "false";
    }

    static bool assign_to(std::uint32_t& to, const Setting& setting, std::string_view text) {
        const auto number = [](std::string_view t) {
            std::optional<std::uint32_t> n(0);
            const auto [end, failure] = std::from_chars(t.data(), t.data() + t.size(), *n);
            if (failure != std::errc() || end != t.data() + t.size()) n.reset();
            return n;
        };
        return within(to, number, setting, text);
    }
    static bool assign_to(std::uint64_t& to, const Setting& setting, std::string_view text) {
        return within(to, parse_size, setting, text);
    }
    static bool assign_to(double& to, const Setting& setting, std::string_view text) {
        return within(to, parse_share, setting, text);
    }
    static bool assign_to(Millis& to, const Setting& setting, std::string_view text) {
        return within(to, parse_duration, setting, text);
    }

    template <class T, class Parse>
    static bool within(T& to, Parse parse, const Setting& setting, std::string_view text) {
        const std::optional<T> value = parse(text);
        if (!value || *value < *parse(setting.low) || *value > *parse(setting.high)) return false;
        to = *value;
        return true;
    }

    static bool assign_to(std::string& to, const Setting& setting, std::string_view text) {
        to = text;
        if (setting.low.empty()) return true;
        std::string_view choices = setting.low;
        while (!choices.empty()) {
            const std::size_t bar = choices.find('|');
            if (choices.substr(0, bar) == text) return true;
            choices.remove_prefix(bar == std::string_view::npos ? choices.size() : bar + 1);
        }
        return false;
    }

    // Defaults that depend on the machine.
    void complete() {
        Settings& s = config_.settings;
        if (s.replica_name.empty()) {
            std::array<char, 256> host{};
            if (gethostname(host.data(), host.size() - 1) != 0) host = {'h', 'o', 's', 't'};
            s.replica_name = fmt::format("{}-{}", host.data(), getpid());
            show("replica.name", s.replica_name);
        }
        if (s.embed_model_dir.empty()) {
            const std::filesystem::path beside(sources_.binary_dir);
            for (const auto& candidate : {beside / "../share/homeostat/model", beside / ".deps/model", beside / "../.deps/model",
                                          beside / "../../.deps/model"}) {
                std::error_code ignored;
                if (sources_.binary_dir.empty() || !std::filesystem::is_directory(candidate, ignored)) continue;
                s.embed_model_dir = std::filesystem::weakly_canonical(candidate, ignored).string();
                show("embed.model_dir", s.embed_model_dir);
                break;
            }
        }
    }

    void show(std::string_view name, const std::string& value) {
        for (std::size_t i = 0; i < setting_table().size(); ++i) {
            if (setting_table()[i].name == name) config_.values[i].text = value;
        }
    }

    // What no bound of a single setting can say.
    void check() {
        const Settings& s = config_.settings;
        const auto require = [&](bool good, std::string_view a, std::string_view relation, std::string_view b) {
            if (!good) problems_.push_back(fmt::format("{} ({}) must be {} {} ({})", a, value(a), relation, b, value(b)));
        };
        require(s.lease_renew * 2 <= s.lease_ttl, "lease.renew", "at most half of", "lease.ttl");
        require(s.claim_heartbeat * 2 <= s.claim_ttl, "claim.heartbeat", "at most half of", "claim.ttl");
        require(s.retry_base <= s.retry_cap, "retry.base", "no longer than", "retry.cap");
        require(s.breaker_pause <= s.breaker_pause_cap, "breaker.pause", "no longer than", "breaker.pause_cap");
        require(s.loop_backoff_base <= s.loop_backoff_cap, "loop.backoff_base", "no longer than", "loop.backoff_cap");
        require(s.database_lock_timeout <= s.database_statement_timeout, "database.lock_timeout", "no longer than",
                "database.statement_timeout");
        require(s.sweep_slice_target <= s.database_statement_timeout, "sweep.slice_target", "no longer than",
                "database.statement_timeout");
        require(s.database_statement_timeout <= s.loop_pass_timeout, "database.statement_timeout", "no longer than",
                "loop.pass_timeout");
        const auto programs = read_chunkers(s.chunkers);
        for (const Status& good :
             {programs ? Status() : Status(programs.error().with_prefix("chunkers")), check_readers(s.database_readers),
              check_outbound(s.secrets, s.provider_allow_hosts), check_paths("exec.allow", s.exec_allow),
              check_paths("exec.read", s.exec_read), check_names("exec.environment", s.exec_environment)}) {
            if (!good) problems_.push_back(good.error().message);
        }
        if (const Status good = check_http(s, config_.profile); !good) problems_.push_back(good.error().message);
    }

    std::string value(std::string_view name) const {
        for (std::size_t i = 0; i < setting_table().size(); ++i) {
            if (setting_table()[i].name == name) return config_.values[i].text;
        }
        return {};
    }

    std::optional<std::string> variable(std::string_view name) const {
        for (const auto& [key, value] : sources_.environment) {
            if (key == name) return value;
        }
        return std::nullopt;
    }

    std::string joined() const {
        std::string out;
        for (const std::string& p : problems_) out += (out.empty() ? "" : "\n") + p;
        return out;
    }

    const ConfigSources& sources_;
    std::vector<Given> given_;
    std::optional<std::string> shown_;  // what is printed instead of the secret being assigned
    Config config_;
    std::vector<std::string> problems_;
};

}  // namespace

ConfigSources ConfigSources::of_process() {
    ConfigSources sources;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::size_t equals = text.find('=');
        if (equals != std::string_view::npos) sources.environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    std::error_code ignored;
    sources.binary_dir = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string();
    return sources;
}

Result<Config> load_config(const ConfigSources& sources) { return Loader(sources).load(); }

}  // namespace homeostat
