// `homeostat audit`: whether stored vectors are what their provider makes of their texts now, and what is wrong with vectors by
// themselves. Writes nothing.
#include <fmt/core.h>

#include "controller/cli/checks/ask_provider.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "reconcilers/inspect/audit.hpp"
#include "store/control/resources.hpp"
#include "store/inspect/document_facts.hpp"
#include "store/inspect/search.hpp"

namespace homeostat {

namespace {

constexpr std::int64_t kLookedAt = 5'000;  // chunks
constexpr std::size_t kNamed = 5;          // that came back otherwise

struct Options {
    std::string name;
    std::uint32_t sample = 32;
    std::string output = "table";
};

struct Audit {
    PipelineSpec pipeline;
    ProviderSpec provider;
    Revision revision;
    AuditResult result;
    VectorFaults faults;
    double cost = 0;
    bool clean() const { return result.agrees() && faults.unsound + faults.same + faults.constant == 0; }
};

Result<Audit> audit(Session& session, const Options& o, const Settings& settings) {
    Audit a;
    Result<PipelineSpec> declared = find_pipeline(session, o.name);
    if (!declared) return declared.error();
    a.pipeline = *std::move(declared);
    Result<std::optional<Revision>> served = served_revision(session, a.pipeline);
    if (!served) return served.error();
    if (!*served)
        return not_found(fmt::format("pipeline \"{}\" serves nothing yet; homeostat run --once fills it", a.pipeline.name));
    a.revision = **std::move(served);
    Result<ProviderSpec> provider = find_provider(session, a.pipeline.provider);
    if (!provider) return provider.error();
    a.provider = *std::move(provider);
    const RevisionSettings& s = a.revision.settings;
    std::vector<SampledChunk> sample;
    const Status read = guarded([&] {
        Transaction tx = session.begin(TxMode::read_snapshot);
        sample = sample_chunks(tx, a.revision.tables, o.sample);
        a.faults = look_for_faults(tx, a.revision.tables, s.dimensions, kLookedAt);
    });
    if (!read) return read.error();
    if (sample.empty()) return a;
    Result<Embeddings> again = ask_provider(settings, a.provider, s.model, s.dimensions, texts_of(sample), TextRole::document);
    if (!again) return again.error();
    a.result = compare_sample(sample, *again, a.pipeline.verify_tolerance);
    a.cost = static_cast<double>(a.result.tokens) * a.provider.price_per_million_tokens / 1e6;
    return a;
}

void print_audit(std::ostream& out, const Audit& a) {
    out << printable(fmt::format("Pipeline {}: revision {}, model {} of provider {}", a.pipeline.name, a.revision.number,
                                 a.revision.settings.model, a.provider.name))
        << '\n';
    const AuditResult& r = a.result;
    out << fmt::format("  Asked again: {}, {} came back within {:.3f} (cosine distance; median {:.4f}, worst {:.4f})\n",
                       counted(static_cast<std::int64_t>(r.asked), "text"), r.asked - r.off.size(), a.pipeline.verify_tolerance,
                       r.median, r.worst);
    for (std::size_t i = 0; i < std::min(kNamed, r.off.size()); ++i) {
        out << fmt::format("    document {}, chunk {}: {:.3f} away\n", r.off[i].document_id, r.off[i].number, r.off[i].distance);
    }
    if (r.same > 0)
        out << fmt::format("    {} have the vector of another text\n", counted(static_cast<std::int64_t>(r.same), "text"));
    out << fmt::format("  Looked at: {}: {} without a sound vector, {} with the vector of another text, {} nearly constant\n",
                       counted(a.faults.looked_at, "chunk"), a.faults.unsound, a.faults.same, a.faults.constant);
    out << fmt::format("  Cost: {}, {:.6f} {}\n", counted(static_cast<std::int64_t>(r.tokens), "token"), a.cost,
                       a.provider.currency);
    if (!r.off.empty()) {
        out << printable(fmt::format(
                   "  The provider does not answer as it did when these were embedded. Correct it; or declare the model "
                   "that is wanted, and all is embedded again."))
            << '\n';
    }
}

YamlNode audit_node(const Audit& a) {
    const auto number = [](std::size_t n) { return YamlNode::number(static_cast<std::int64_t>(n)); };
    YamlNode node = YamlNode::map();
    node.add("pipeline", YamlNode::text(a.pipeline.name));
    node.add("revision", YamlNode::number(a.revision.number));
    node.add("model", YamlNode::text(a.revision.settings.model));
    node.add("provider", YamlNode::text(a.provider.name));
    node.add("asked", number(a.result.asked));
    node.add("tolerance", YamlNode::real(a.pipeline.verify_tolerance));
    node.add("median", YamlNode::real(a.result.median));
    node.add("worst", YamlNode::real(a.result.worst));
    YamlNode off = YamlNode::list();
    for (const AuditFinding& f : a.result.off) {
        YamlNode one = YamlNode::map();
        one.add("document", YamlNode::number(f.document_id));
        one.add("chunk", YamlNode::number(f.number));
        one.add("distance", YamlNode::real(f.distance));
        off.items.push_back(std::move(one));
    }
    node.add("off", std::move(off));
    node.add("cameBackTheSame", number(a.result.same));
    node.add("lookedAt", YamlNode::number(a.faults.looked_at));
    node.add("unsound", YamlNode::number(a.faults.unsound));
    node.add("sameVector", YamlNode::number(a.faults.same));
    node.add("constant", YamlNode::number(a.faults.constant));
    node.add("tokens", YamlNode::number(static_cast<std::int64_t>(a.result.tokens)));
    node.add("cost", YamlNode::real(a.cost));
    node.add("currency", YamlNode::text(a.provider.currency));
    node.add("clean", YamlNode::boolean(a.clean()));
    return node;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const Result<Audit> found = audit(**session, o, context.settings());
    if (!found) return context.fail(found.error());
    if (*form == OutputForm::json || *form == OutputForm::yaml) {
        const YamlNode node = audit_node(*found);
        context.streams.out << (*form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
    } else {
        print_audit(context.streams.out, *found);
    }
    return found->clean() ? kExitOk : kExitDifferences;
}

}  // namespace

VerbBody configure_audit(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline whose vectors are compared", true), o->name);
    command.option(
        {.names = "--sample", .value = "N", .help = "Texts that are embedded again, picked at random", .range = {1, 1000}},
        o->sample);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Asks the pipeline's provider, which costs what the texts of the sample cost. Writes nothing.\n"
        "Exit codes: 0 all is as it was, 1 something is not, 2 refused or failed. Example: homeostat audit articles --sample "
        "100");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
