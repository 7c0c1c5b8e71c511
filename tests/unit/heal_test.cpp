// Which chunks of a document are embedded, which stay, which get their vectors back.
#include "reconcilers/factory/heal.hpp"
#include "reconcilers/chunk/hash.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace homeostat {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// One chunk a line, so that a test says what it means.
class Lines final : public Chunker {
public:
    std::vector<Chunk> chunk(std::string_view document, std::string_view context) const override {
        std::vector<Chunk> out;
        for (std::size_t at = 0; at < document.size();) {
            const std::size_t end = std::min(document.find('\n', at), document.size());
            if (end > at) out.push_back({std::string(context), document.substr(at, end - at), at, end});
            at = end + 1;
        }
        return out;
    }
};

ReadDocument document(std::string content, std::vector<std::string> stored = {}, bool sound = true) {
    ReadDocument d;
    d.key = {"1"};
    d.in_source = true;
    d.content = std::move(content);
    d.document_id = 7;
    if (!stored.empty()) d.write_token = 3;
    for (std::size_t i = 0; i < stored.size(); ++i)
        d.chunks.push_back({static_cast<std::int32_t>(i), chunk_hash(stored[i]), sound});
    return d;
}

HealWork work_of(std::vector<ReadDocument> documents, bool rebuild = false) {
    const std::vector<CutDocument> cut = cut_documents(documents, Lines());
    return {std::move(documents), cut, rebuild};
}

int kept(HealWork& work) {
    const auto& chunks = work.request().chunks;
    return static_cast<int>(std::count_if(chunks.begin(), chunks.end(), [](const WriteChunk& c) { return c.kept; }));
}

TEST(Heal, ANewDocumentIsEmbeddedWhole) {
    HealWork work = work_of({document("a\nb\nc")});
    EXPECT_THAT(work.texts(), ElementsAre("a", "b", "c"));
    EXPECT_EQ(work.request().documents.at(0).chunks, 3);
    EXPECT_EQ(kept(work), 0);
}

TEST(Heal, OnlyWhatIsNewIsEmbedded) {
    HealWork work = work_of({document("a\nB\nc", {"a", "b", "c"})});
    EXPECT_THAT(work.texts(), ElementsAre("B"));
    EXPECT_EQ(kept(work), 2);
}

TEST(Heal, WhatMerelyMovedGetsItsVectorBack) {
    HealWork work = work_of({document("new\na\nb", {"a", "b"})});
    EXPECT_THAT(work.texts(), ElementsAre("new"));
    EXPECT_EQ(kept(work), 0);
    for (const WriteChunk& c : work.request().chunks) EXPECT_EQ(c.vector, nullptr) << "nothing is attached yet";
}

TEST(Heal, AnUnsoundVectorIsNeverKeptNorGivenBack) {
    HealWork work = work_of({document("a\nb", {"a", "b"}, false)});
    EXPECT_THAT(work.texts(), ElementsAre("a", "b"));
    EXPECT_EQ(kept(work), 0);
}

// What stays is not removed, so its vector is not in the journal: a second chunk of the same text must not count on it.
TEST(Heal, ATextThatStaysAndComesAgainIsEmbedded) {
    HealWork work = work_of({document("a\na", {"a"})});
    EXPECT_EQ(kept(work), 1);
    EXPECT_THAT(work.texts(), ElementsAre("a"));
}

TEST(Heal, RebuildTrustsNoRowButReusesSoundVectors) {
    HealWork work = work_of({document("a\nb", {"a", "b"})}, true);
    EXPECT_EQ(kept(work), 0);
    EXPECT_THAT(work.texts(), IsEmpty());
}

TEST(Heal, ATextSharedByDocumentsIsEmbeddedOnce) {
    ReadDocument other = document("same\nother");
    other.document_id = 8;
    HealWork work = work_of({document("same\nown"), other});
    EXPECT_THAT(work.texts(), ElementsAre("same", "own", "other"));
    Embeddings vectors;
    vectors.dimensions = 1;
    vectors.values = {1, 2, 3};
    work.attach({.vectors = std::move(vectors), .refused = {}});
    const auto& chunks = work.request().chunks;
    EXPECT_EQ(*chunks[0].vector, 1);
    EXPECT_EQ(chunks[0].vector, chunks[2].vector);
    EXPECT_EQ(*chunks[3].vector, 3);
}

TEST(Heal, ADocumentWithARefusedTextIsADeadLetterAndTheOthersAreWritten) {
    ReadDocument first = document("good\nbad");
    first.key = {"1"};
    ReadDocument second = document("fine\nwell");
    second.key = {"2"};
    HealWork work = work_of({first, second});
    Embedded embedded;
    embedded.vectors.dimensions = 1;
    embedded.vectors.values = {1, 0, 3, 4};
    embedded.refused.push_back({1, {.cls = ErrorClass::content, .message = "no"}});
    work.attach(std::move(embedded));
    ASSERT_EQ(work.dead().size(), 1U);
    EXPECT_EQ(work.dead()[0].key, Key{"1"});
    EXPECT_EQ(work.dead()[0].message, "no");
    EXPECT_EQ(work.dead()[0].strategy, "bisect");
    ASSERT_EQ(work.request().documents.size(), 1U);
    EXPECT_EQ(work.request().documents[0].read->key, Key{"2"});
    ASSERT_EQ(work.request().chunks.size(), 2U);
    for (const WriteChunk& c : work.request().chunks) EXPECT_EQ(c.document, 0U);
    EXPECT_EQ(*work.request().chunks[0].vector, 3);
    EXPECT_EQ(*work.request().chunks[1].vector, 4);
}

TEST(Heal, ADocumentThatCannotBeCutIsADeadLetterAndTheOthersAreWritten) {
    std::vector<ReadDocument> documents{document("bad", {"old"}), document("good")};
    documents[1].key = {"2"};
    std::vector<CutDocument> cut = cut_documents(documents, Lines());
    cut[0] = {.chunks = {}, .refused = Error{.cls = ErrorClass::content, .message = "no"}};
    HealWork work(std::move(documents), cut, false);
    ASSERT_EQ(work.dead().size(), 1U);
    EXPECT_EQ(work.dead()[0].key, Key{"1"});
    EXPECT_EQ(work.dead()[0].message, "no");
    ASSERT_EQ(work.request().documents.size(), 1U) << "what is stored of it stays as it is";
    EXPECT_EQ(work.request().documents[0].read->key, Key{"2"});
    EXPECT_THAT(work.texts(), ElementsAre("good"));
}

TEST(Heal, AnEmptyDocumentIsWrittenWithoutChunks) {
    HealWork work = work_of({document("", {"a"})});
    EXPECT_EQ(work.request().documents.size(), 1U);
    EXPECT_EQ(work.request().documents[0].chunks, 0);
    EXPECT_THAT(work.request().chunks, IsEmpty());
}

TEST(Heal, WhatIsGoneOrDeferredIsNotWritten) {
    ReadDocument gone = document("x");
    gone.in_source = false;
    ReadDocument later = document("y");
    later.deferred = true;
    later.key = {"2"};
    HealWork work = work_of({gone, later});
    EXPECT_EQ(work.gone(), 1);
    EXPECT_THAT(work.deferred(100), ElementsAre(ElementsAre(Key{"2"})));
    EXPECT_THAT(work.request().documents, IsEmpty());
}

TEST(Heal, WhatIsDeferredIsCutIntoBatchesThatFit) {
    std::vector<ReadDocument> documents{document("read")};
    for (const int bytes : {60, 40, 1, 500, 30, 30, 30}) {
        documents.push_back(document(""));
        documents.back().key = {std::to_string(bytes)};
        documents.back().bytes = bytes;
        documents.back().deferred = true;
    }
    const HealWork work = work_of(documents);
    EXPECT_THAT(work.deferred(100), ElementsAre(ElementsAre(Key{"60"}, Key{"40"}), ElementsAre(Key{"1"}), ElementsAre(Key{"500"}),
                                                ElementsAre(Key{"30"}, Key{"30"}, Key{"30"})));
    EXPECT_THAT(work_of({document("read")}).deferred(100), IsEmpty());
}

// From any stored chunks to any text: every chunk ends with a vector from somewhere, and from one place only.
RC_GTEST_PROP(Heal, EveryChunkHasAVectorFromSomewhere, ()) {
    const auto word = rc::gen::element<std::string>("a", "b", "c", "d");
    const auto before = *rc::gen::container<std::vector<std::string>>(word);
    const auto after = *rc::gen::container<std::vector<std::string>>(word);
    const bool rebuild = *rc::gen::arbitrary<bool>();
    ReadDocument d = document("", before);
    for (const std::string& line : after) d.content += line + "\n";
    for (StoredChunk& c : d.chunks) c.sound = *rc::gen::arbitrary<bool>();
    const std::vector<StoredChunk> stored = d.chunks;
    HealWork work = work_of({d}, rebuild);
    Embeddings vectors;
    vectors.dimensions = 1;
    vectors.values.assign(work.texts().size(), 1);
    work.attach({.vectors = std::move(vectors), .refused = {}});
    std::multiset<std::string> journal;
    for (const StoredChunk& c : stored) {
        const auto& chunks = work.request().chunks;
        const bool stays =
            std::any_of(chunks.begin(), chunks.end(), [&](const WriteChunk& w) { return w.kept && w.number == c.number; });
        if (!stays && c.sound) journal.insert(c.hash);
    }
    RC_ASSERT(work.request().chunks.size() == after.size());
    for (const WriteChunk& c : work.request().chunks) {
        const auto i = static_cast<std::size_t>(c.number);
        RC_ASSERT(std::string(c.hash) == chunk_hash(after[i]));
        if (c.kept) {
            RC_ASSERT(!rebuild);
            RC_ASSERT(stored.at(i).sound);
            RC_ASSERT(stored.at(i).hash == std::string(c.hash));
        } else {
            RC_ASSERT(c.vector != nullptr || journal.contains(std::string(c.hash)));
        }
    }
}

}  // namespace
}  // namespace homeostat
