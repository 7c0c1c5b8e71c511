// `import`: prints manifests, and the commands that take its vectors over, of what another tool has in this database.
#include <fmt/core.h>

#include "controller/cli/manifest/imported.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "store/inspect/foreign_catalogues.hpp"

namespace homeostat {

namespace {

struct SinkOptions {
    std::string table;
    std::string source;
    std::vector<std::string> key;
    std::string content;
    std::string provider;
    std::string model;
    std::string chunker = "sentence";
    std::uint32_t chunk_size = 0;
};

struct Options {
    Command pgai, pgedge, sink;
    SinkOptions of_sink;
    bool commands = false;
};

Result<std::vector<ForeignVectorizer>> read(Session& session, const Options& o) {
    return guarded([&]() -> Result<std::vector<ForeignVectorizer>> {
        Transaction tx = session.begin(TxMode::read_only);
        tx.exec("SET LOCAL search_path TO DEFAULT");
        if (o.pgai.given()) return read_pgai(tx);
        if (o.pgedge.given()) return read_pgedge(tx);
        const SinkOptions& s = o.of_sink;
        Result<ForeignVectorizer> sink = read_sink(tx, s.table);
        if (!sink) return sink.error();
        ForeignVectorizer v = *std::move(sink);
        v.source = v.source_named = s.source;
        v.name = s.source.substr(s.source.rfind('.') + 1);
        std::erase(v.name, '"');
        v.key = s.key;
        v.content = s.content;
        v.model = s.model;
        v.chunking = s.chunker;
        if (s.chunk_size > 0) v.chunk_size = s.chunk_size;
        return std::vector<ForeignVectorizer>{std::move(v)};
    });
}

void print_commented(std::ostream& out, const std::string& text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        out << "# " << text.substr(at, end - at) << '\n';
        at = end + 1;
    }
}

void print_pipeline(CliContext& context, const ImportedPipeline& p) {
    std::ostream& out = context.streams.out;
    out << "---\n";
    for (const std::string& note : p.notes) out << "# " << printable(note) << ".\n";
    if (p.reason) {
        out << "# It is not declared as it stands: " << printable(*p.reason) << ".\n";
        print_commented(out, write_yaml(p.manifest));
    } else {
        out << write_yaml(p.manifest);
    }
    if (!p.adopt.empty()) out << "# " << (p.reason ? "then: " : "") << printable(p.adopt) << '\n';
}

void say(CliContext& context, const ImportedPipeline& p) {
    for (const std::string& note : p.notes)
        context.streams.err << printable(fmt::format("homeostat: {}: {}", p.name, note)) << '\n';
    if (p.reason) context.streams.err << printable(fmt::format("homeostat: {} is left out: {}", p.name, *p.reason)) << '\n';
}

int run(CliContext& context, const Options& o) {
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto found = read(**session, o);
    if (!found) return context.fail(found.error());
    Importer importer(o.sink.given() ? std::optional<std::string>(o.of_sink.provider) : std::nullopt);
    std::vector<ImportedPipeline> pipelines;
    bool left_out = false;
    for (const ForeignVectorizer& v : *found) {
        pipelines.push_back(importer.pipeline(v));
        left_out = left_out || pipelines.back().reason.has_value();
        say(context, pipelines.back());
    }
    std::ostream& out = context.streams.out;
    if (o.commands) {
        for (const ImportedPipeline& p : pipelines) {
            if (!p.reason && !p.adopt.empty()) out << p.adopt << '\n';
        }
        return left_out ? kExitDifferences : kExitOk;
    }
    out << fmt::format(
        "# {}. To use them: homeostat apply --suspended -f -, then the commands in the comments, then homeostat resume.\n",
        counted(static_cast<std::int64_t>(pipelines.size()), "pipeline"));
    bool first = true;
    for (const YamlNode& provider : importer.providers()) {
        if (!first) out << "---\n";
        first = false;
        out << write_yaml(provider);
    }
    for (const ImportedPipeline& p : pipelines) print_pipeline(context, p);
    return left_out ? kExitDifferences : kExitOk;
}

}  // namespace

VerbBody configure_import(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    o->pgai = command.subcommand("pgai", "What ai.vectorizer has, of pgai");
    o->pgedge = command.subcommand("pgedge", "What pgedge_vectorizer.vectorizers has, of pgEdge's vectorizer");
    o->sink = command.subcommand(
        "sink", "A table of five columns: the document's key, the number of the chunk, its text, its vector, a time");
    SinkOptions& s = o->of_sink;
    o->sink.option({.names = "table", .value = "TABLE", .help = "The table that has the vectors", .required = true}, s.table);
    o->sink.option({.names = "--source", .value = "TABLE", .help = "The table or view that has the documents", .required = true},
                   s.source);
    o->sink.option({.names = "--content", .value = "COLUMN", .help = "Its column with the text", .required = true}, s.content);
    o->sink.option({.names = "--provider",
                    .value = "NAME",
                    .help = "The provider that made the vectors, as it is declared here",
                    .required = true},
                   s.provider);
    o->sink.repeated({.names = "--key", .value = "COLUMN", .help = "A column that names a document; the primary key if not said"},
                     s.key);
    o->sink.option({.names = "--model", .value = "MODEL", .help = "The model that made them; the provider's if not said"},
                   s.model);
    o->sink.option({.names = "--chunker", .value = "CHUNKER", .help = "How texts were cut: whole, fixed, sentence or markdown"},
                   s.chunker);
    o->sink.option({.names = "--chunk-size", .value = "TOKENS", .help = "The most a chunk holds", .range = {1, 1'000'000}},
                   s.chunk_size);
    command.flag("--commands", o->commands, "Print only the commands that take the vectors over");
    command.footer(
        "Writes nothing. What cannot be said in a manifest is said in a comment, and to stderr.\n"
        "Example: homeostat import pgai | homeostat apply --suspended -f - && homeostat import pgai --commands | sh\n"
        "Exit codes: 0 all is printed; 1 something is left out; 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
