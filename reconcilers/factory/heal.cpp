#include "reconcilers/factory/heal.hpp"

#include <map>
#include <set>

#include "reconcilers/chunk/hash.hpp"

namespace homeostat {

std::vector<CutDocument> cut_documents(const std::vector<ReadDocument>& documents, const Chunker& chunker) {
    std::vector<CutDocument> out(documents.size());
    for (std::size_t i = 0; i < documents.size(); ++i) {
        if (is_cut(documents[i])) out[i].chunks = chunker.chunk(documents[i].content, documents[i].context);
    }
    return out;
}

std::uint64_t bytes_of(const std::vector<ReadDocument>& documents) {
    std::uint64_t bytes = 0;
    for (const ReadDocument& d : documents) bytes += d.content.size() + d.context.size();
    return bytes;
}

HealWork::HealWork(std::vector<ReadDocument> documents, const std::vector<CutDocument>& cut, bool rebuild)
    : documents_(std::move(documents)) {
    for (std::size_t i = 0; i < documents_.size(); ++i) {
        const ReadDocument& d = documents_[i];
        if (!d.in_source) {
            ++gone_;
        } else if (!d.deferred && cut.at(i).refused) {
            bury(d, *cut[i].refused);
        } else if (!d.deferred) {
            add_document(d, cut.at(i).chunks, rebuild);
        }
    }
}

std::vector<std::vector<Key>> HealWork::deferred(std::int64_t bytes) const {
    std::vector<std::vector<Key>> out;
    std::int64_t left = 0;
    for (const ReadDocument& d : documents_) {
        if (!d.deferred) continue;
        if (out.empty() || d.bytes > left) {
            out.emplace_back();
            left = bytes;
        }
        out.back().push_back(d.key);
        left -= d.bytes;
    }
    return out;
}

void HealWork::add_document(const ReadDocument& document, const std::vector<Chunk>& chunks, bool rebuild) {
    const std::size_t index = request_.documents.size();
    request_.documents.push_back({&document, static_cast<std::int32_t>(chunks.size())});

    // Rows that stay are found first: only what is removed can give its vector back through the journal.
    std::vector<std::string> hashes;
    std::vector<std::string> texts;
    std::vector<bool> kept(chunks.size(), false);
    std::set<std::int32_t> staying;
    for (const Chunk& c : chunks) {
        texts.push_back(c.embedded_text());
        hashes.push_back(chunk_hash(texts.back()));
    }
    for (const StoredChunk& s : document.chunks) {
        const auto i = static_cast<std::size_t>(s.number);
        if (rebuild || !s.sound || i >= chunks.size() || s.hash != hashes[i]) continue;
        kept[i] = true;
        staying.insert(s.number);
    }
    std::set<std::string_view> returned;
    for (const StoredChunk& s : document.chunks) {
        if (s.sound && !staying.contains(s.number)) returned.insert(s.hash);
    }
    for (std::size_t i = 0; i < chunks.size(); ++i) {
        WriteChunk w;
        w.document = index;
        w.number = static_cast<std::int32_t>(i);
        w.start = static_cast<std::int64_t>(chunks[i].start);
        w.end = static_cast<std::int64_t>(chunks[i].end);
        w.kept = kept[i];
        w.text = chunks[i].text;
        const bool reused = returned.contains(hashes[i]);
        held_.push_back(std::make_unique<std::string>(hashes[i]));
        w.hash = *held_.back();
        if (!chunks[i].context.empty()) {
            held_.push_back(std::make_unique<std::string>(chunks[i].context));
            w.context = *held_.back();
        }
        if (!kept[i] && !reused) wants_.emplace_back(request_.chunks.size(), text_index(hashes[i], std::move(texts[i])));
        request_.chunks.push_back(w);
    }
}

std::size_t HealWork::text_index(const std::string& hash, std::string text) {
    const auto [it, fresh] = by_hash_.try_emplace(hash, texts_.size());
    if (fresh) texts_.push_back(std::move(text));
    return it->second;
}

void HealWork::attach(Embedded embedded) {
    vectors_ = std::move(embedded.vectors);
    for (const auto& [chunk, text] : wants_) request_.chunks[chunk].vector = vectors_.row(text);
    if (!embedded.refused.empty()) bury(embedded.refused);
}

void HealWork::bury(const ReadDocument& d, const Error& reason) {
    dead_.push_back(
        {d.key, d.content_hash, std::string(to_string(reason.cls)), std::string(reason.strategy()), reason.message, 0, ""});
}

void HealWork::bury(const std::vector<RefusedText>& refused) {
    std::map<std::size_t, const Error*> reasons;  // by text
    for (const RefusedText& r : refused) reasons.emplace(r.index, &r.error);
    std::map<std::size_t, const Error*> dead;  // by document
    for (const auto& [chunk, text] : wants_) {
        const auto it = reasons.find(text);
        if (it != reasons.end()) dead.emplace(request_.chunks[chunk].document, it->second);
    }
    std::set<std::size_t> out;
    for (const auto& [document, reason] : dead) {
        bury(*request_.documents[document].read, *reason);
        out.insert(document);
    }
    leave_out(out);
}

// Documents and chunks are numbered by position, so what stays moves up.
void HealWork::leave_out(const std::set<std::size_t>& documents) {
    std::vector<std::size_t> place(request_.documents.size());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < request_.documents.size(); ++i) {
        place[i] = kept;
        if (!documents.contains(i)) request_.documents[kept++] = request_.documents[i];
    }
    request_.documents.resize(kept);
    std::erase_if(request_.chunks, [&](const WriteChunk& c) { return documents.contains(c.document); });
    for (WriteChunk& c : request_.chunks) c.document = place[c.document];
    wants_.clear();  // they count chunks, and have their vectors
}

void HealWork::keep_named(const std::vector<Key>& keys) {
    const std::set<Key> named(keys.begin(), keys.end());
    std::set<std::size_t> out;
    for (std::size_t i = 0; i < request_.documents.size(); ++i) {
        if (!named.contains(request_.documents[i].read->key)) out.insert(i);
    }
    leave_out(out);
    std::erase_if(dead_, [&](const DeadLetter& d) { return !named.contains(d.key); });
    for (ReadDocument& d : documents_) {
        if (!named.contains(d.key)) d.deferred = false;
    }
}

}  // namespace homeostat
