// The audit that comes before an adoption: what could be taken over against what the provider makes of the same texts.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "core/fault_point.hpp"
#include "reconcilers/factory/targets.hpp"
#include "reconcilers/gateway/plural.hpp"
#include "reconcilers/inspect/audit.hpp"
#include "reconcilers/pipeline/adopting.hpp"
#include "reconcilers/pipeline/pipeline_pass.hpp"
#include "store/control/budgets.hpp"
#include "store/data/adopted_rows.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kTriedFor = 8;     // documents looked at for each text of the sample
constexpr std::size_t kReadAtOnce = 50;  // of them

Error refused(std::string why) {
    return {.cls = ErrorClass::invalid, .message = std::move(why), .origin = Origin::user, .code = "AdoptionRefused"};
}

struct Candidates {
    AdoptedTotals totals;
    std::vector<SampledChunk> sample;
    std::int64_t looked_at = 0;
    LeftCounts left{};
};

class AdoptionAuditor {
public:
    AdoptionAuditor(Session& session, const AdoptionOf& of, const AdoptionRequest& request)
        : session_(session), of_(of), request_(request) {}

    Result<Candidates> pick() {
        if (const Status looked = inspect(); !looked) return looked.error();
        Result<std::unique_ptr<Chunker>> chunker = make_chunker(chunk_settings(of_.settings));
        if (!chunker) return chunker.error();
        chunker_ = *std::move(chunker);
        std::vector<Key> keys = picked_keys();
        if (out_.totals.rows == 0) return refused(fmt::format("{} is empty", request_.relation));
        if (out_.totals.first_chunk != 0 && out_.totals.first_chunk != 1) {
            return refused(fmt::format("chunks in {} are numbered from {}; a document's first chunk is 0 or 1", request_.relation,
                                       out_.totals.first_chunk));
        }
        for (std::size_t at = 0; at < keys.size() && out_.sample.size() < request_.sample; at += kReadAtOnce) {
            const auto first = keys.begin() + static_cast<std::ptrdiff_t>(at);
            look_at({first, keys.begin() + static_cast<std::ptrdiff_t>(std::min(at + kReadAtOnce, keys.size()))});
        }
        return std::move(out_);
    }

private:
    Status inspect() {
        Transaction tx = session_.begin(TxMode::read_only);
        Result<SourceShape> source = inspect_source(tx, spec_of_revision(of_.declared, of_.settings));
        if (!source) return source.error();
        source_ = *std::move(source);
        Result<AdoptedShape> shape =
            inspect_adopted(tx, of_.declared, {request_.relation, request_.key, request_.vector, request_.chunk, request_.text});
        if (!shape) return shape.error();
        shape_ = *std::move(shape);
        return {};
    }

    std::vector<Key> picked_keys() {
        Transaction tx = session_.begin(TxMode::read_only);
        use_operators(tx, shape_.rows);
        out_.totals = count_adopted(tx, shape_);
        std::vector<Key> keys = sample_adopted(tx, shape_, static_cast<std::int64_t>(kTriedFor * request_.sample));
        std::shuffle(keys.begin(), keys.end(), random_);
        return keys;
    }

    void look_at(const std::vector<Key>& keys) {
        std::vector<std::optional<SourceText>> texts;
        {
            Transaction tx = session_.begin(TxMode::read_only);
            use_operators(tx, source_);
            texts = source_texts(tx, source_, keys);
        }
        Transaction tx = session_.begin(TxMode::read_only);
        use_operators(tx, shape_.rows);
        const std::vector<std::vector<AdoptedRow>> rows = read_adopted(tx, shape_, source_, keys);
        const AdoptedForm form{request_.chunk.has_value(), request_.text.has_value(), out_.totals.first_chunk,
                               of_.settings.dimensions, of_.settings.vector_type};
        for (std::size_t i = 0; i < keys.size(); ++i) {
            if (!texts[i]) continue;
            ++out_.looked_at;
            const std::vector<Chunk> chunks = chunker_->chunk(texts[i]->content, texts[i]->context);
            const AdoptedMatch match = match_document(chunks, rows[i], form);
            if (match.left) {
                ++out_.left[static_cast<std::size_t>(*match.left)];
            } else if (!chunks.empty() && out_.sample.size() < request_.sample) {
                take(chunks, match);
            }
        }
    }

    void take(const std::vector<Chunk>& chunks, const AdoptedMatch& match) {
        const std::size_t n = std::uniform_int_distribution<std::size_t>(0, chunks.size() - 1)(random_);
        SampledChunk s;
        s.number = static_cast<std::int32_t>(n);
        s.context = chunks[n].context;
        s.text = chunks[n].text;
        s.vector.assign(match.vectors[n], match.vectors[n] + of_.settings.dimensions);
        out_.sample.push_back(std::move(s));
    }

    Session& session_;
    const AdoptionOf& of_;
    const AdoptionRequest& request_;
    SourceShape source_;
    AdoptedShape shape_;
    std::unique_ptr<Chunker> chunker_;
    std::minstd_rand random_{std::random_device()()};
    Candidates out_;
};

std::string nothing_fits(const AdoptionRequest& request, const Candidates& found) {
    if (found.looked_at == 0)
        return fmt::format("no key in {} names a document of the source; name its key columns with --key", request.relation);
    return fmt::format("of {} picked at random from {} none could be taken over: {}", plural(found.looked_at, "document"),
                       request.relation, left_text(found.left).empty() ? "they have no text" : left_text(found.left));
}

}  // namespace

Result<std::string> audit_adoption(Session& session, const AskAgain& ask, const AdoptionOf& of, AdoptionRequest& request,
                                   const Context& context) {
    Result<Candidates> found = guarded([&] { return AdoptionAuditor(session, of, request).pick(); });
    if (!found) return found.error();
    if (found->sample.empty()) return refused(nothing_fits(request, *found));
    const std::vector<ProviderSpec> no_peers;
    Spending spent;
    EmbedOrder order{of.provider, no_peers, of.settings.model, of.settings.dimensions, TextRole::document, true, &spent};
    order.fresh = true;
    Result<Embedded> again = ask(std::move(order), texts_of(found->sample), context);
    if (!again) return again.error();
    const std::string why = again->refused.empty() ? "" : again->refused.front().error.message;
    const Embeddings vectors = answered_texts(*std::move(again), found->sample);
    if (found->sample.empty()) return refused(fmt::format("provider \"{}\" refuses all texts: {}", of.provider.name, why));
    const AuditResult result = compare_sample(found->sample, vectors, of.declared.verify_tolerance);
    const Paid paid(spent.paid.begin(), spent.paid.end());
    const Status noted = guarded([&] {
        Transaction tx = fenced_transaction(session, pipeline_lease(of.declared.uid), context);
        if (has_budget(of.declared, of.provider)) settle_budget(tx, of.declared.uid, 0, paid);
        if (result.agrees()) {
            note_adoption_audit(tx, request.id,
                                {found->totals.first_chunk, found->totals.rows, static_cast<std::int64_t>(result.asked),
                                 result.worst, static_cast<std::int64_t>(spent.used)});
        }
        tx.commit();
        HOMEOSTAT_REACH("adopt.after_audit");
    });
    if (!noted) return noted.error();
    if (!result.agrees()) {
        return fmt::format(
            "the vectors in {} are not what provider \"{}\" makes of these texts with model {}: {}; they are of another "
            "model, or of other texts",
            request.relation, of.provider.name, of.settings.model, audit_text(result, of.declared.verify_tolerance));
    }
    request.state = AdoptionState::audited;
    request.first_chunk = found->totals.first_chunk;
    request.vectors = found->totals.rows;
    return std::string();
}

}  // namespace homeostat
