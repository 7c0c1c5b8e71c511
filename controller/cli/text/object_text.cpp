#include "controller/cli/text/object_text.hpp"

#include "controller/cli/text/output.hpp"
#include "controller/config/config_values.hpp"

namespace homeostat {

namespace {

// Adds what is there; absent values are left out, because a manifest says nothing by leaving a field out.
class Fields {
public:
    void text(const char* name, const std::string& value) {
        if (!value.empty()) node_.add(name, YamlNode::text(value));
    }
    void text(const char* name, const std::optional<std::string>& value) {
        if (value) node_.add(name, YamlNode::text(*value));
    }
    void words(const char* name, const std::vector<std::string>& values) {
        if (values.empty()) return;
        YamlNode list = YamlNode::list();
        for (const std::string& v : values) list.items.push_back(YamlNode::text(v));
        node_.add(name, std::move(list));
    }
    void map(const char* name, const StringMap& values) {
        if (values.empty()) return;
        YamlNode map = YamlNode::map();
        for (const auto& [key, value] : values) map.add(key, YamlNode::text(value));
        node_.add(name, std::move(map));
    }
    // A JSON object, which is YAML too.
    void members(const char* name, const std::string& json) {
        if (json == "{}") return;
        Result<std::vector<YamlNode>> read = read_yaml(json, name);
        if (read && !read->empty()) node_.add(name, std::move(read->front()));
    }
    template <class I>
        requires std::is_integral_v<I>
    void number(const char* name, I value) {
        node_.add(name, YamlNode::number(static_cast<std::int64_t>(value)));
    }
    template <class I>
    void number(const char* name, const std::optional<I>& value) {
        if (value) number(name, *value);
    }
    void real(const char* name, double value) { node_.add(name, YamlNode::real(value)); }
    void flag(const char* name, bool value) { node_.add(name, YamlNode::boolean(value)); }
    void duration(const char* name, Millis value) { node_.add(name, YamlNode::text(duration_text(value))); }
    void time(const char* name, const std::optional<WallTime>& value) {
        if (value) node_.add(name, YamlNode::text(time_text(*value)));
    }
    void node(const char* name, YamlNode value) { node_.add(name, std::move(value)); }

    YamlNode take() { return std::move(node_); }

private:
    YamlNode node_ = YamlNode::map();
};

YamlNode bases_node(const std::vector<CaptureBase>& bases) {
    YamlNode list = YamlNode::list();
    for (const CaptureBase& base : bases) {
        Fields f;
        f.text("table", base.table);
        f.map("key", base.key);
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

}  // namespace

YamlNode spec_node(const PipelineSpec& p) {
    Fields f;
    f.text("source", p.source);
    f.words("key", p.key);
    f.words("content", p.content);
    f.text("template", p.content_template);
    f.words("metadataColumns", p.metadata);
    f.text("versionColumn", p.version_column);
    f.number("documents", p.documents);
    f.text("provider", p.provider);
    f.text("model", p.model);
    f.number("dimensions", p.dimensions);
    f.text("chunker", p.chunker);
    f.number("chunkSize", p.chunk_size);
    f.number("chunkOverlap", p.chunk_overlap);
    f.text("chunkUnit", p.chunk_unit);
    f.text("chunkContext", p.chunk_context);
    f.text("target", p.target);
    f.text("vectorType", p.vector_type);
    f.text("indexMethod", p.index_method);
    f.text("distance", p.distance);
    f.text("mode", p.mode);
    f.text("management", p.management);
    f.text("driftPolicy", p.drift_policy);
    f.number("priority", p.priority);
    f.real("completeness", p.completeness);
    if (p.max_staleness) f.duration("maxStaleness", *p.max_staleness);
    f.duration("driftInterval", p.drift_interval);
    f.duration("deepInterval", p.deep_interval);
    f.text("prune", p.prune);
    f.real("maxPruneRatio", p.max_prune_ratio);
    f.number("maxPruneRows", p.max_prune_rows);
    f.text("deletionPolicy", p.deletion_policy);
    f.words("dependsOn", p.depends_on);
    f.text("backpressure", p.backpressure);
    f.text("capture", p.capture);
    if (!p.capture_from.empty()) f.node("captureFrom", bases_node(p.capture_from));
    f.duration("sweepInterval", p.sweep_interval);
    f.text("rowSecurity", p.row_security);
    return f.take();
}

YamlNode spec_node(const ProviderSpec& p) {
    Fields f;
    f.text("kind", p.kind);
    f.text("endpoint", p.endpoint);
    f.text("model", p.model);
    f.number("dimensions", p.dimensions);
    f.text("credential", p.credential);
    f.text("organization", p.organization);
    f.map("headers", p.headers);
    f.text("documentPrefix", p.document_prefix);
    f.text("queryPrefix", p.query_prefix);
    f.members("request", p.request);
    f.members("queryRequest", p.query_request);
    f.text("answersAs", p.answers_as);
    f.text("encoding", p.encoding);
    f.flag("sendDimensions", p.send_dimensions);
    f.text("caFile", p.ca_file);
    f.text("clientCertificate", p.client_certificate);
    f.text("clientKey", p.client_key);
    f.text("proxy", p.proxy);
    f.number("maxBatch", p.max_batch);
    f.number("maxTextTokens", p.max_text_tokens);
    f.text("tooLong", p.too_long);
    f.number("maxInFlight", p.max_in_flight);
    f.number("breakerFailures", p.breaker_failures);
    if (p.breaker_share) f.real("breakerShare", *p.breaker_share);
    if (p.breaker_pause) f.duration("breakerPause", *p.breaker_pause);
    if (p.breaker_pause_cap) f.duration("breakerPauseCap", *p.breaker_pause_cap);
    f.number("requestsPerMinute", p.requests_per_minute);
    f.number("tokensPerMinute", p.tokens_per_minute);
    f.duration("timeout", p.timeout);
    f.real("pricePerMillionTokens", p.price_per_million_tokens);
    f.number("rank", p.rank);
    f.text("pool", p.pool);
    f.real("canaryTolerance", p.canary_tolerance);
    f.words("command", p.command);
    f.words("environment", p.environment);
    f.number("memoryLimitMb", p.memory_limit_mb);
    return f.take();
}

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
        YamlNode node = status_node(*status);
        if (p.suspend) node.add("suspended", YamlNode::text(p.suspend_reason.value_or("no reason given")));
        object.add("status", std::move(node));
    }
    return object;
}

YamlNode spec_node(const TargetViewSpec& v) {
    Fields f;
    f.text("relation", v.relation);
    f.text("onRemoval", v.on_removal);
    f.real("maxRemovalRatio", v.max_removal_ratio);
    f.duration("interval", v.interval);
    return f.take();
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
