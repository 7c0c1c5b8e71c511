#include "controller/cli/text/object_text.hpp"

#include <span>
#include <type_traits>
#include <variant>

#include "controller/cli/manifest/manifest_schema.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/config/config_values.hpp"
#include "store/control/declared_columns.hpp"

namespace homeostat {

namespace {

YamlNode bases_node(const std::vector<CaptureBase>& bases);

YamlNode map_node(const StringMap& values) {
    YamlNode map = YamlNode::map();
    for (const auto& [key, value] : values) map.add(key, YamlNode::text(value));
    return map;
}

// Adds what is there; absent values are left out, because a manifest says nothing by leaving a field out.
class Fields {
public:
    void text(const std::string& name, const std::string& value) {
        if (!value.empty()) node_.add(name, YamlNode::text(value));
    }
    void text(const std::string& name, const std::optional<std::string>& value) {
        if (value) node_.add(name, YamlNode::text(*value));
    }
    void words(const std::string& name, const std::vector<std::string>& values) {
        if (values.empty()) return;
        YamlNode list = YamlNode::list();
        for (const std::string& v : values) list.items.push_back(YamlNode::text(v));
        node_.add(name, std::move(list));
    }
    void map(const std::string& name, const StringMap& values) {
        if (!values.empty()) node_.add(name, map_node(values));
    }
    // A JSON object, which is YAML too.
    void members(const std::string& name, const std::string& json) {
        if (json == "{}") return;
        Result<std::vector<YamlNode>> read = read_yaml(json, name);
        if (read && !read->empty()) node_.add(name, std::move(read->front()));
    }
    template <class I>
        requires std::is_integral_v<I>
    void number(const std::string& name, I value) {
        node_.add(name, YamlNode::number(static_cast<std::int64_t>(value)));
    }
    template <class I>
    void number(const std::string& name, const std::optional<I>& value) {
        if (value) number(name, *value);
    }
    void real(const std::string& name, double value) { node_.add(name, YamlNode::real(value)); }
    void flag(const std::string& name, bool value) { node_.add(name, YamlNode::boolean(value)); }
    void duration(const std::string& name, Millis value) { node_.add(name, YamlNode::text(duration_text(value))); }
    void time(const std::string& name, const std::optional<WallTime>& value) {
        if (value) node_.add(name, YamlNode::text(time_text(*value)));
    }
    // By the type of a declared column's member.
    void value(const std::string& name, const std::string& v) { text(name, v); }
    void value(const std::string& name, bool v) { flag(name, v); }
    void value(const std::string& name, double v) { real(name, v); }
    void value(const std::string& name, Millis v) { duration(name, v); }
    void value(const std::string& name, const StringMap& v) { map(name, v); }
    void value(const std::string& name, const std::vector<std::string>& v) { words(name, v); }
    void value(const std::string& name, const std::vector<CaptureBase>& v) {
        if (!v.empty()) node(name, bases_node(v));
    }
    template <class I>
        requires(std::is_integral_v<I> && !std::is_same_v<I, bool>)
    void value(const std::string& name, I v) {
        number(name, v);
    }
    template <class T>
    void value(const std::string& name, const std::optional<T>& v) {
        if (v) value(name, *v);
    }
    void node(const std::string& name, YamlNode value) { node_.add(name, std::move(value)); }

    YamlNode take() { return std::move(node_); }

private:
    YamlNode node_ = YamlNode::map();
};

YamlNode bases_node(const std::vector<CaptureBase>& bases) {
    YamlNode list = YamlNode::list();
    for (const CaptureBase& base : bases) {
        Fields f;
        f.text("table", base.table);
        f.node("key", map_node(base.key));  // also an empty one: apply wants it
        list.items.push_back(f.take());
    }
    return list;
}

YamlNode envelope(const char* kind, const std::string& name, const StringMap& labels, std::int64_t uid, std::int64_t generation,
                  YamlNode spec) {
    Fields metadata;
    metadata.text("name", name);
    metadata.map("labels", labels);
    metadata.number("uid", uid);
    metadata.number("generation", generation);
    Fields object;
    object.text("apiVersion", std::string("homeostat.dev/v1"));
    object.text("kind", std::string(kind));
    object.node("metadata", metadata.take());
    object.node("spec", std::move(spec));
    return object.take();
}

YamlNode condition_node(const Condition& condition) {
    Fields f;
    f.text("type", condition.type);
    f.text("status", condition.status);
    f.text("reason", condition.reason);
    f.text("message", condition.message);
    f.number("observedGeneration", condition.observed_generation);
    f.time("lastTransition", condition.last_transition);
    return f.take();
}

// A declared column under the name that manifests have for it. A mode or name that is empty is as absent as NULL.
template <class Spec>
void declared_field(Fields& f, const DeclaredColumn<Spec>& column, const Spec& spec) {
    const std::string name = field_of_column(column.name);
    std::visit(
        [&](const auto member) {
            const auto& value = spec.*member;
            if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
                if (column.type == "jsonb") return f.members(name, value);
            }
            f.value(name, value);
        },
        column.member);
}

template <class Spec>
YamlNode declared(const Spec& spec, std::span<const DeclaredColumn<Spec>> columns) {
    Fields f;
    for (const DeclaredColumn<Spec>& column : columns) {
        if (column.name != "labels") declared_field(f, column, spec);  // those stand in the metadata
    }
    return f.take();
}

}  // namespace

YamlNode spec_node(const PipelineSpec& p) { return declared(p, pipeline_columns()); }
YamlNode spec_node(const ProviderSpec& p) { return declared(p, provider_columns()); }
YamlNode spec_node(const TargetViewSpec& v) { return declared(v, target_view_columns()); }

YamlNode status_node(const PipelineStatus& s) {
    Fields drift;
    drift.number("missing", s.drift.missing);
    drift.number("stale", s.drift.stale);
    drift.number("moved", s.drift.moved);
    drift.number("partial", s.drift.partial);
    drift.number("invalid", s.drift.invalid);
    drift.number("orphaned", s.drift.orphaned);
    drift.number("excess", s.drift.excess);
    Fields f;
    f.number("observedGeneration", s.observed_generation);
    if (!s.provider_seen) f.text("providerSeen", std::string("false"));
    f.number("revision", s.revision);
    f.number("sourceDocuments", s.source_documents);
    f.number("documents", s.documents);
    f.number("chunks", s.chunks);
    f.node("drift", drift.take());
    f.number("deadLetters", s.dead_letters);
    f.number("blockedPrunes", s.blocked_prunes);
    f.text("blockedPlan", s.blocked_plan);
    f.number("waitingDocuments", s.waiting.documents());
    if (s.waiting.oldest) f.duration("oldestWaiting", *s.waiting.oldest);
    f.time("lastSweep", s.last_sweep);
    f.time("lastDeepSweep", s.last_deep_sweep);
    f.time("lastConverged", s.last_converged);
    f.time("nextAttempt", s.next_attempt);
    f.text("lastError", s.last_error);
    f.text("lastHandledReconcile", s.last_handled_reconcile);
    YamlNode conditions = YamlNode::list();
    for (const Condition& c : s.conditions) conditions.items.push_back(condition_node(c));
    f.node("conditions", std::move(conditions));
    return f.take();
}

YamlNode object_node(const PipelineSpec& p, const PipelineStatus* status) {
    YamlNode object = envelope("Pipeline", p.name, p.labels, p.uid, p.generation, spec_node(p));
    if (status != nullptr) {
        // Nobody has looked at it yet, or somebody else declared it: then there are no numbers to tell, rather than zeros.
        const bool unseen = status->observed_generation == 0 && status->conditions.empty();
        YamlNode node = unseen ? YamlNode::map() : status_node(*status);
        if (p.suspend) node.add("suspended", YamlNode::text(p.suspend_reason.value_or("no reason given")));
        object.add("status", std::move(node));
    }
    return object;
}

YamlNode status_node(const TargetViewStatus& s) {
    Fields f;
    f.number("observedGeneration", s.observed_generation);
    f.number("rows", s.rows);
    f.number("pipelines", s.pipelines);
    f.number("rowsRefused", s.refused);
    f.number("namesTaken", s.names_taken);
    f.number("removalsHeld", s.held);
    f.text("plan", s.plan);
    f.number("removedWithinTheHour", s.removed_in_window);
    f.text("lastError", s.last_error);
    YamlNode conditions = YamlNode::list();
    for (const Condition& c : s.conditions) conditions.items.push_back(condition_node(c));
    f.node("conditions", std::move(conditions));
    return f.take();
}

YamlNode object_node(const TargetViewSpec& v, const TargetViewStatus* status) {
    YamlNode object = envelope("TargetView", v.name, v.labels, v.uid, v.generation, spec_node(v));
    if (status != nullptr) {
        YamlNode node = status_node(*status);
        if (v.suspend) node.add("suspended", YamlNode::text(v.suspend_reason.value_or("no reason given")));
        object.add("status", std::move(node));
    }
    return object;
}

YamlNode object_node(const ProviderSpec& p) { return envelope("Provider", p.name, p.labels, p.uid, p.generation, spec_node(p)); }

}  // namespace homeostat
