// `erase`: has every trace of a document taken away, and shows the receipts.
#include <fmt/core.h>

#include <numeric>

#include "controller/cli/text/arguments.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "controller/cli/text/waiting.hpp"
#include "controller/cli/verbs.hpp"
#include "store/control/erasures.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

constexpr int kReceipts = 1'000;

struct Options {
    std::string pipeline;
    std::vector<std::string> key;
    std::string timeout = "1m";
    std::string output = "table";
    bool no_wait = false;
};

std::int64_t sum(const RowCounts& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0},
                           [](std::int64_t n, const auto& c) { return n + c.second; });
}

std::string by_table(const RowCounts& counts) {
    std::string out;
    for (const auto& [table, rows] : counts) {
        if (rows > 0) out += fmt::format("{}{} of {}", out.empty() ? "" : ", ", rows, table);
    }
    return out.empty() ? "nothing" : out;
}

YamlNode node_of(const ErasureReceipt& r) {
    YamlNode node = YamlNode::map();
    node.add("receipt", YamlNode::number(r.id));
    node.add("pipeline", YamlNode::text(r.pipeline));
    node.add("keyHash", YamlNode::text(r.key_hash));
    node.add("state", YamlNode::text(r.state));
    if (!r.message.empty()) node.add("message", YamlNode::text(r.message));
    node.add("requestedBy", YamlNode::text(r.requested_by));
    node.add("requestedAt", YamlNode::text(time_text(r.requested_at)));
    if (r.ended_at) node.add("endedAt", YamlNode::text(time_text(*r.ended_at)));
    YamlNode found = YamlNode::map();
    for (const auto& [table, rows] : r.found) found.add(table, YamlNode::number(rows));
    node.add("found", std::move(found));
    YamlNode remaining = YamlNode::map();
    for (const auto& [table, rows] : r.remaining) remaining.add(table, YamlNode::number(rows));
    node.add("remaining", std::move(remaining));
    return node;
}

void print_nodes(CliContext& context, OutputForm form, const YamlNode& node) {
    context.streams.out << (form == OutputForm::json ? write_json(node) + '\n' : write_yaml(node));
}

void print_receipt(CliContext& context, OutputForm form, const ErasureReceipt& r) {
    if (form == OutputForm::json || form == OutputForm::yaml) return print_nodes(context, form, node_of(r));
    if (sum(r.found) == 0)
        context.streams.out << "Nothing of such a document was found: look whether the key is the right one.\n";
    context.streams.out << fmt::format(
        "The document is erased: {} taken away ({}).\nA look in {} found {}.\nReceipt {}: SHA-256 of the key {}, asked for by "
        "{}, {}.\n",
        counted(sum(r.found), "row"), by_table(r.found), counted(static_cast<std::int64_t>(r.remaining.size()), "table"),
        sum(r.remaining), r.id, r.key_hash, printable(r.requested_by), time_text(r.ended_at.value_or(r.requested_at)));
}

int list(CliContext& context, Session& session, const Options& o, OutputForm form) {
    const auto receipts = read_erasures(session, o.pipeline, std::nullopt, kReceipts);
    if (!receipts) return context.fail(receipts.error());
    if (form == OutputForm::json || form == OutputForm::yaml) {
        YamlNode items = YamlNode::list();
        for (const ErasureReceipt& r : *receipts) items.items.push_back(node_of(r));
        YamlNode node = YamlNode::map();
        node.add("items", std::move(items));
        print_nodes(context, form, node);
        return kExitOk;
    }
    if (receipts->empty()) {
        context.streams.err << fmt::format("homeostat: nothing of pipeline \"{}\" was ever asked to be erased\n", o.pipeline);
        return kExitOk;
    }
    TextTable table({"RECEIPT", "STATE", "ROWS", "LEFT", "ASKED BY", "AGE", "KEY HASH", "MESSAGE"});
    const WallTime now = SystemClock().now();
    for (const ErasureReceipt& r : *receipts) {
        table.add({std::to_string(r.id), Cell(r.state, r.state == "refused" ? Tint::bad : Tint::plain),
                   std::to_string(sum(r.found)), r.state == "erased" ? std::to_string(sum(r.remaining)) : "-",
                   printable(r.requested_by), age_text(r.requested_at, now), r.key_hash.substr(0, 16), printable(r.message)});
    }
    table.print(context.streams.out, context.streams.colour);
    return kExitOk;
}

int wait_for(CliContext& context, Session& session, const Options& o, OutputForm form, std::int64_t id,
             std::optional<std::chrono::milliseconds> timeout) {
    const std::string given_up =
        fmt::format("request {} goes on without you: homeostat erase {} shows what became of it", id, o.pipeline);
    std::string told;
    return wait_until_answered(context, session, timeout, given_up, [&]() -> std::optional<int> {
        const auto receipts = read_erasures(session, o.pipeline, id, 1);
        if (!receipts) return context.fail(receipts.error());
        if (receipts->empty()) return context.fail(not_found(fmt::format("request {} is not there any more", id)));
        const ErasureReceipt& r = receipts->front();
        if (r.state == "erased") return print_receipt(context, form, r), kExitOk;
        if (r.state == "refused")
            return context.fail(invalid(fmt::format("pipeline \"{}\": the document is not erased: {}", o.pipeline, r.message)));
        if (!r.message.empty() && r.message != told)
            context.streams.err << fmt::format("homeostat: {}\n", printable(told = r.message));
        return std::nullopt;
    });
}

int run(CliContext& context, const Options& o) {
    const auto form = output_form(o.output);
    if (!form) return context.fail(form.error());
    const auto timeout = read_duration("--timeout", o.timeout);
    if (!timeout) return context.fail(timeout.error());
    auto session = context.session();
    if (!session) return context.fail(session.error());
    const auto pipeline = find_pipeline(**session, o.pipeline);
    if (!pipeline) return context.fail(pipeline.error());
    if (o.key.empty()) return list(context, **session, o, *form);
    const auto key = read_document_key(o.key, pipeline->key);
    if (!key) return context.fail(key.error());
    const auto id = request_erasure(**session, o.pipeline, *key);
    if (!id) return context.fail(id.error());
    if (!o.no_wait) return wait_for(context, **session, o, *form, *id, *timeout);
    context.streams.out << fmt::format("request {}: the document will be erased; homeostat erase {} shows what became of it\n",
                                       *id, o.pipeline);
    return kExitOk;
}

}  // namespace

VerbBody configure_erase(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(pipeline_word("The pipeline", true), o->pipeline);
    command.option(
        {.names = "key",
         .value = "KEY...",
         .help = "The document's key: its value, or values in the order of the key columns, or COLUMN=VALUE; without it, "
                 "the receipts of the pipeline are listed"},
        o->key);
    command.flag("--no-wait", o->no_wait, "Only ask for it");
    command.option({.names = "--timeout", .value = "DURATION", .help = "Stop waiting after this long, 1m if not said"},
                   o->timeout);
    command.option({.names = "-o,--output", .value = "FORM", .help = "table, json or yaml"}, o->output);
    command.footer(
        "Every trace of the document's text and vectors goes: chunks, journal, older revisions, dead letters, batches, "
        "messages,\n"
        "caches. Then every table is looked in, and the receipt says what was found. Its row has to be gone from the source.\n"
        "Example: homeostat erase articles 4711\n"
        "A key that begins with a dash goes behind --: homeostat erase readings -- 17 -infinity\n"
        "Exit codes: 0 erased, or listed; 1 stopped waiting; 2 refused or failed.");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
