// `homeostat explain`: why one document is or is not embedded. The verdict first, then what it rests on.
#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/login.hpp"
#include "reconcilers/factory/targets.hpp"
#include "store/control/resources.hpp"
#include "store/inspect/document_facts.hpp"

namespace homeostat {

namespace {

struct Options {
    std::string name;
    std::vector<std::string> key;
    std::string output = "table";
};

struct Subject {
    PipelineSpec spec;
    std::string source;
    std::int32_t revision = 0;    // looked at: that which holds what is declared, else the one that is served
    bool outdated = false;        // the spec asks for other vectors than it holds
    std::int32_t served = 0;      // 0 = none
    bool in_served = false;
    std::int64_t unkeyed = 0;
    DocumentFacts facts;
};

struct Verdict {
    std::string state;  // current, missing, stale, ... , absent
    std::string sentence;
};

Status read_facts(Session& session, Subject& s, const std::vector<std::string>& key, const Revision* revision,
                  const Revision* served) {
    return guarded([&]() -> Status {
        Transaction tx = session.begin(TxMode::read_snapshot);
        Result<SourceShape> source = inspect_source(tx, s.spec);
        if (!source) return source.error();
        s.source = source->described;
        Result<Key> wanted = read_document_key(key, s.spec.key);
        if (!wanted) return wanted.error();
        const Revision none{0, "building", {}, RevisionTables::of(s.spec.uid, 0)};
        Result<DocumentFacts> facts = read_document_facts(tx, s.spec, *source, revision != nullptr ? *revision : none, *wanted);
        if (!facts) return facts.error();
        s.facts = *std::move(facts);
        if (served != nullptr && served->settings.key == s.spec.key) {
            Result<bool> held = holds_document(tx, *source, *served, s.facts.key);
            if (!held) return held.error();
            s.in_served = *held;
        }
        Result<std::int64_t> unkeyed = count_unkeyed(tx, *source);
        if (!unkeyed) return unkeyed.error();
        s.unkeyed = *unkeyed;
        return {};
    });
}

Result<Subject> look_at(Session& session, const Options& o) {
    Result<PipelineSpec> declared = find_pipeline(session, o.name);
    if (!declared) return declared.error();
    Result<ProviderSpec> provider = find_provider(session, declared->provider);
    if (!provider) return provider.error();
    Result<std::vector<Revision>> revisions = read_revisions(session, declared->uid);
    if (!revisions) return revisions.error();
    Subject s;
    s.spec = *declared;
    const RevisionSettings wanted = wanted_settings(*declared, *provider, *revisions);
    const Revision* newest = revision_holding(*revisions, wanted);
    const Revision* served = nullptr;
    for (const Revision& r : *revisions) {
        if (r.state == "served") served = &r;
    }
    if (newest == nullptr && !revisions->empty()) newest = served != nullptr ? served : &revisions->back();
    if (newest != nullptr) {
        s.revision = newest->number;
        s.outdated = !newest->settings.same_vectors(wanted);
        s.spec = spec_of_revision(*declared, newest->settings);
    }
    if (served != nullptr) s.served = served->number;
    if (const Status read = read_facts(session, s, o.key, newest, served); !read) return read.error();
    return s;
}

// What happens next to a document that is not as it should be.
// `damage` was done to the vectors: only a deep sweep sees it.
std::string outlook(const Subject& s, bool damage = false) {
    if (s.spec.suspend) return fmt::format("; pipeline \"{}\" is suspended", s.spec.name);
    if (s.spec.management != "Manage") return "; the pipeline's management is Observe, so it is not healed";
    if (s.spec.drift_policy != "Enforce")
        return fmt::format("; the drift policy is {}, so it is not healed", s.spec.drift_policy);
    if (const auto& b = s.facts.batch) {
        if (!b->claimed_by.empty()) return fmt::format("; batch {} is healing it now", b->id);
        if (!b->last_error.empty()) return fmt::format("; batch {} tries again ({})", b->id, b->last_error);
        return fmt::format("; batch {} is about to heal it", b->id);
    }
    return damage ? "; the next deep sweep heals it (at once: homeostat reconcile)" : "; the next pass heals it";
}

Verdict gone_verdict(const Subject& s, std::string_view state, std::string_view why) {
    const DocumentFacts& f = s.facts;
    if (f.document_id == 0) return {"unwanted", fmt::format("not embedded, and rightly so: {}", why)};
    const std::string_view next = f.prune_confirmed   ? "two observations agree; it is removed unless the brakes hold it"
                                  : f.prune_candidate ? "one observation has seen it; it is removed when a second agrees"
                                                      : "it will be removed in the next pass";
    return {std::string(state), fmt::format("embedded, but {}: {}", why, next)};
}

Verdict verdict_of(const Subject& s) {
    const DocumentFacts& f = s.facts;
    if (f.source_rows > 1) return {"ambiguous", fmt::format("not one document: more than one row of {} has this key", s.source)};
    if (f.source_rows == 0) {
        if (f.document_id != 0) return gone_verdict(s, "orphaned", fmt::format("no longer in {}", s.source));
        return {"absent",
                fmt::format(
                    "not found: {} has no row with this key{}", s.source,
                    s.unkeyed > 0 ? fmt::format(" ({} have none because a key column is NULL)", counted(s.unkeyed, "row")) : "")};
    }
    if (f.beyond_count) {
        return gone_verdict(s, "excess",
                            fmt::format("it lies beyond the first {} in key order", counted(*s.spec.documents, "document")));
    }
    if (s.revision == 0)
        return {"missing", fmt::format("not embedded: pipeline \"{}\" has not had its first pass yet", s.spec.name)};
    if (f.dead_letter && f.dead_letter_current) {
        return {"dead letter", fmt::format("not embedded: refused after {} ({}); left alone until its text is edited",
                                           counted(f.dead_letter->attempts, "attempt"), f.dead_letter->message)};
    }
    if (f.document_id == 0) return {"missing", "not embedded yet" + outlook(s)};
    if (!f.same_content) return {"stale", "embedded, but its text has changed since" + outlook(s)};
    if (!f.chunks_intact) {
        return {"partial", fmt::format("embedded in part: {} of {} are there as they were written{}", count_text(f.chunks),
                                       counted(f.chunk_count, "chunk"), outlook(s, true))};
    }
    if (f.sound_chunks < f.chunks) {
        return {"invalid", fmt::format("embedded, but {} cannot be searched (NULL, zero or of the wrong width){}",
                                       counted(f.chunks - f.sound_chunks, "vector"), outlook(s, true))};
    }
    if (!f.same_metadata) return {"moved", "embedded and current, but metadata columns have changed since" + outlook(s)};
    if (s.outdated)
        return {"outdated", fmt::format("embedded as revision {} has it, but the spec asks for other vectors now", s.revision)};
    if (f.chunk_count == 0) return {"current", "current, with nothing to embed: its text is empty"};
    return {"current", fmt::format("embedded and current, in {}{}", counted(f.chunks, "chunk"),
                                   s.served == s.revision ? "" : "; its revision is not served yet")};
}

using Facts = std::vector<std::pair<std::string, std::string>>;

Facts facts_of(const Subject& s) {
    const DocumentFacts& f = s.facts;
    Facts out;
    out.emplace_back("in source", f.source_rows == 0 ? "no"
                                                     : fmt::format("yes, {} of text{}", counted(f.content_bytes, "byte"),
                                                                   f.version ? ", version " + *f.version : ""));
    if (s.spec.documents) {
        out.emplace_back("declared count",
                         fmt::format("{} the first {}", f.beyond_count ? "beyond" : "within", count_text(*s.spec.documents)));
    }
    if (f.document_id == 0) {
        out.emplace_back("document row", s.revision == 0 ? "no revision yet" : fmt::format("none in revision {}", s.revision));
    } else {
        out.emplace_back("document row", fmt::format("id {} in revision {}, written {} by run {}, batch {}", f.document_id,
                                                     s.revision, f.written_at, f.run_id, f.batch_id));
        if (f.source_rows == 1) {
            out.emplace_back("content", f.same_content ? "same hash as the source" : "differs from the source");
            out.emplace_back("version", f.same_version ? "as in the source" : "another than in the source");
            if (!s.spec.metadata.empty())
                out.emplace_back("metadata", f.same_metadata ? "as in the source" : "another than in the source");
        }
        out.emplace_back("chunks", fmt::format("{} of {}, {} with a vector that can be searched{}", f.chunks, f.chunk_count,
                                               f.sound_chunks, f.chunks_intact ? "" : ", not as they were written"));
        if (f.prune_candidate) {
            out.emplace_back("removal",
                             f.prune_confirmed ? "two complete observations agree" : "one complete observation has seen it");
        }
    }
    if (const auto& b = f.batch) {
        std::string text =
            fmt::format("{} ({} of {} documents), {}", b->id, b->kind, b->cls, counted(b->attempts, "failed attempt"));
        if (!b->claimed_by.empty()) text += ", claimed by " + b->claimed_by;
        if (!b->next_try.empty()) text += ", next try " + b->next_try;
        if (!b->last_error.empty()) text += "; last error: " + b->last_error;
        out.emplace_back("open batch", std::move(text));
    }
    if (const auto& d = f.dead_letter) {
        out.emplace_back("dead letter",
                         fmt::format("{}: {} ({}, strategy {}{}){}", d->cls, d->message, counted(d->attempts, "attempt"),
                                     d->strategy, d->trace_id.empty() ? "" : ", trace " + d->trace_id,
                                     f.dead_letter_current ? "" : "; of an earlier text"));
    }
    out.emplace_back("served", s.served == 0 ? "nothing is served yet"
                                             : fmt::format("revision {} through {}, {}", s.served, s.spec.target,
                                                           s.in_served ? "with this document" : "without this document"));
    return out;
}

YamlNode subject_node(const Subject& s, const Verdict& v) {
    const DocumentFacts& f = s.facts;
    YamlNode node = YamlNode::map();
    node.add("pipeline", YamlNode::text(s.spec.name));
    YamlNode key = YamlNode::map();
    for (std::size_t i = 0; i < f.key.size(); ++i) key.add(s.spec.key[i], YamlNode::text(f.key[i]));
    node.add("key", std::move(key));
    node.add("state", YamlNode::text(v.state));
    node.add("current", YamlNode::boolean(v.state == "current"));
    node.add("verdict", YamlNode::text(v.sentence));
    YamlNode facts = YamlNode::map();
    for (const auto& [name, text] : facts_of(s)) facts.add(name, YamlNode::text(text));
    node.add("facts", std::move(facts));
    node.add("documentId", YamlNode::number(f.document_id));
    node.add("revision", YamlNode::number(s.revision));
    node.add("chunks", YamlNode::number(f.chunks));
    node.add("soundChunks", YamlNode::number(f.sound_chunks));
    if (f.batch) node.add("batch", YamlNode::number(f.batch->id));
    if (f.dead_letter && !f.dead_letter->trace_id.empty()) node.add("traceId", YamlNode::text(f.dead_letter->trace_id));
    return node;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (const Status bounded = check_login(**session, context.settings()); !bounded) return context.fail(bounded.error());
    const Result<Subject> subject = look_at(**session, o);
    if (!subject) return context.fail(subject.error());
    const Verdict verdict = verdict_of(*subject);
    std::ostream& out = context.streams.out;
    if (*form == OutputForm::json || *form == OutputForm::yaml) {
        const YamlNode node = subject_node(*subject, verdict);
        out << (*form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
    } else {
        TextTable table(
            {fmt::format("Document {} of pipeline {} is {}.", key_text(subject->facts.key), o.name, verdict.sentence)});
        table.print(out, false);
        for (const auto& [name, text] : facts_of(*subject)) out << fmt::format("  {:<15}{}\n", name, printable(text));
    }
    if (verdict.state == "absent") return kExitFailed;
    return verdict.state == "current" ? kExitOk : kExitDifferences;
}

}  // namespace

VerbBody configure_explain(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline", true), o->name);
    command.option({.names = "key",
                    .value = "KEY...",
                    .help = "The document's key: its value, or values in the order of the key columns, or COLUMN=VALUE",
                    .required = true},
                   o->key);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Examples: homeostat explain articles 4711\n"
        "          homeostat explain contracts tenant=acme number=7\n"
        "A key that begins with a dash goes behind --: homeostat explain articles -- -5\n"
        "Exit codes: 0 embedded and current, 1 not, 2 there is no such document, or it failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
