// A gateway over real HTTP endpoints, for its tests.
#pragma once

#include <gmock/gmock.h>

#include <numeric>

#include "reconcilers/embed/openai.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/io_thread.hpp"

namespace homeostat {

class GatewayCase : public ::testing::Test {
protected:
    static constexpr std::uint32_t kWidth = 16;

    static ProviderSpec provider_at(const kit::FakeEndpoint& endpoint, const std::string& name = "fake") {
        ProviderSpec p;
        p.uid = 1;
        p.name = name;
        p.generation = 1;
        p.kind = "openai";
        p.endpoint = endpoint.url();
        p.model = "m";
        p.timeout = std::chrono::seconds(2);
        return p;
    }
    Gateway& gateway() {
        if (!made) {
            GatewayParts parts{.make = [this](const ProviderSpec& p, const std::string& model,
                                              std::uint32_t dimensions) { return maker(p, model, dimensions); },
                               .db = io.executor(),
                               .clock = clock,
                               .telemetry = {registry, tracer}};
            made = std::make_unique<Gateway>(std::move(parts), settings);
        }
        return *made;
    }
    Result<std::shared_ptr<Embedder>> maker(const ProviderSpec& p, const std::string& model, std::uint32_t dimensions) {
        auto result = make_openai_embedder(p, model, dimensions, io.executor(), clock, {registry, tracer});
        if (!result) return result.error();
        return std::shared_ptr<Embedder>(*std::move(result));
    }
    static boost::asio::awaitable<Result<Embedded>> ask(Gateway& gateway, const ProviderSpec& provider,
                                                        const std::vector<ProviderSpec>& peers,
                                                        const std::vector<std::string>& texts, Context context) {
        EmbedOrder order{provider, peers, "m", kWidth, TextRole::document};
        co_return co_await gateway.embed(std::move(order), texts, std::move(context));
    }
    Result<Embedded> embed(const ProviderSpec& provider, const std::vector<std::string>& texts,
                           const std::vector<ProviderSpec>& peers = {}, Context context = {}) {
        return io.run(ask(gateway(), provider, peers, texts, std::move(context)));
    }
    static std::vector<std::string> texts_of(int n, const std::string& what = "text") {
        std::vector<std::string> out;
        for (int i = 0; i < n; ++i) out.push_back(what + " " + std::to_string(i));
        return out;
    }
    static void expect_vectors(const Result<Embedded>& answer, const std::vector<std::string>& texts) {
        ASSERT_TRUE(answer) << answer.error().message;
        ASSERT_EQ(answer->vectors.count(), texts.size());
        std::set<std::size_t> refused;
        for (const RefusedText& r : answer->refused) refused.insert(r.index);
        for (std::size_t i = 0; i < texts.size(); ++i) {
            if (refused.contains(i)) continue;
            const std::vector<float> row(answer->vectors.row(i), answer->vectors.row(i) + kWidth);
            ASSERT_EQ(row, kit::FakeEndpoint::vector_of(texts[i], kWidth)) << texts[i];
        }
    }

    SystemClock clock;
    SpanRecorder recorder;
    Tracer tracer{&recorder, clock};
    Registry registry;
    GatewaySettings settings{.retry_base = std::chrono::milliseconds(20)};
    kit::IoThread io{2};
    std::unique_ptr<Gateway> made;
};

}  // namespace homeostat
