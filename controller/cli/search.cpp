// `homeostat search`: the documents of a pipeline that are nearest in meaning to a text.
#include <fmt/core.h>

#include "controller/cli/checks/ask_provider.hpp"
#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/verbs.hpp"
#include "reconcilers/factory/targets.hpp"
#include "store/control/resources.hpp"
#include "store/inspect/search.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kSnippet = 80;  // letters
const Statement kSearcher{"search_role", "SELECT quote_ident(current_user)"};

struct Options {
    std::string name;
    std::string text;
    std::uint32_t limit = 5;
    std::string output = "table";
};

struct Answer {
    PipelineSpec spec;                  // as the served revision has it
    std::vector<std::string> metadata;  // names, as the hits carry them
    std::vector<SearchHit> hits;
};

// The beginning of a text, on one line and never cut within a letter.
std::string snippet(const std::string& text) {
    std::string out;
    std::size_t letters = 0;
    bool blank = false;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= 0x20) {
            blank = !out.empty();
            continue;
        }
        if ((byte & 0xC0U) != 0x80U) {
            if (letters + (blank ? 1 : 0) >= kSnippet) return out + "…";
            letters += blank ? 2 : 1;
            if (blank) out += ' ';
            blank = false;
        }
        out += c;
    }
    return out;
}

Result<Answer> search(Session& session, const Options& o, const Settings& settings) {
    Result<PipelineSpec> declared = find_pipeline(session, o.name);
    if (!declared) return declared.error();
    Result<std::optional<Revision>> served = served_revision(session, *declared);
    if (!served) return served.error();
    if (!*served) {
        return not_found(fmt::format("pipeline \"{}\" serves nothing yet; homeostat run --once fills it", declared->name));
    }
    const Revision& revision = **served;
    // What is served may be another's than is declared: the one before, or one that is pinned.
    Result<ProviderSpec> provider = provider_of_revision(session, *declared, revision);
    if (!provider && provider.error().code == kRevisionOutdated) provider = find_provider(session, declared->provider);
    if (!provider) return provider.error();
    // What is served was made for the queries of its time; what is declared now goes with the next revision.
    if (RevisionSettings::of(*declared, *provider).request != revision.settings.request)
        provider->query_request = revision.settings.query_request;
    Result<Embeddings> query =
        ask_provider(settings, *provider, revision.settings.model, revision.settings.dimensions, {o.text}, TextRole::query);
    if (!query) return query.error();
    Answer answer;
    answer.spec = spec_of_revision(*declared, revision.settings);
    answer.metadata = searchable_metadata(answer.spec, revision);
    Result<std::vector<SearchHit>> hits =
        search_served(session, answer.spec, revision, std::span(query->row(0), query->dimensions), o.limit);
    if (!hits) {
        Error error = hits.error();
        if (error.code == "42501" && !error.said.empty()) {
            // Whoever searches needs nothing but the view.
            const auto role = guarded([&] { return session.exec(kSearcher).text(0, 0); });
            error.message += fmt::format("; as who may grant it: GRANT SELECT ON {} TO {}", answer.spec.target,
                                         role ? *role : "the role that searches");
            error.said.clear();
        }
        return error;
    }
    answer.hits = *std::move(hits);
    return answer;
}

std::string measure_name(const PipelineSpec& spec) {
    return spec.distance == "l2" ? "DISTANCE" : spec.distance == "inner_product" ? "PRODUCT" : "SIMILARITY";
}

void print_table(CliContext& context, const Answer& a) {
    if (a.hits.empty()) {
        context.streams.err << fmt::format("homeostat: pipeline \"{}\" has no vectors yet\n", a.spec.name);
        return;
    }
    std::vector<std::string> headers{measure_name(a.spec), "KEY", "CHUNK"};
    headers.insert(headers.end(), a.metadata.begin(), a.metadata.end());
    headers.emplace_back("TEXT");
    TextTable table(headers);
    for (const SearchHit& hit : a.hits) {
        std::vector<Cell> row{fmt::format("{:.3f}", similarity(a.spec, hit.distance)), key_text(hit.key),
                              std::to_string(hit.chunk)};
        for (const auto& m : hit.metadata) row.emplace_back(m ? Cell(snippet(*m)) : Cell("", Tint::faint));
        row.emplace_back(snippet(hit.text));
        table.add(std::move(row));
    }
    table.print(context.streams.out, context.streams.colour);
}

YamlNode answer_node(const Answer& a) {
    YamlNode list = YamlNode::list();
    for (const SearchHit& hit : a.hits) {
        YamlNode key = YamlNode::map();
        for (std::size_t i = 0; i < hit.key.size(); ++i) key.add(a.spec.key[i], YamlNode::text(hit.key[i]));
        YamlNode metadata = YamlNode::map();
        for (std::size_t i = 0; i < hit.metadata.size(); ++i) {
            metadata.add(a.metadata[i], hit.metadata[i] ? YamlNode::text(*hit.metadata[i]) : YamlNode{});
        }
        YamlNode node = YamlNode::map();
        node.add("key", std::move(key));
        node.add("chunk", YamlNode::number(hit.chunk));
        node.add(a.spec.distance == "cosine" ? "similarity"
                 : a.spec.distance == "l2"   ? "distance"
                                             : "product",
                 YamlNode::real(similarity(a.spec, hit.distance)));
        node.add("metadata", std::move(metadata));
        node.add("text", YamlNode::text(hit.text));
        list.items.push_back(std::move(node));
    }
    return list;
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    if (o.text.find_first_not_of(" \t\r\n") == std::string::npos) return context.fail(invalid("the text to search for is empty"));
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const Result<Answer> answer = search(**session, o, context.settings());
    if (!answer) return context.fail(answer.error());
    if (*form == OutputForm::json || *form == OutputForm::yaml) {
        const YamlNode node = answer_node(*answer);
        context.streams.out << (*form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
    } else {
        print_table(context, *answer);
    }
    return kExitOk;
}

}  // namespace

VerbBody configure_search(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline whose documents are searched", true), o->name);
    command.option({.names = "text", .value = "TEXT", .help = "What to look for, in your own words", .required = true}, o->text);
    command.option({.names = "-k", .value = "N", .help = "How many chunks, nearest first", .range = {1, 1000}}, o->limit);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Embeds the text with the pipeline's provider and asks the served view.\n"
        "Example: homeostat search articles \"how do I get my money back\" -k 3");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
