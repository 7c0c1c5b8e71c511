#include "controller/cli/checks/ask_provider.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <optional>

#include "controller/embedders.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

asio::awaitable<void> ask(Gateway& gateway, EmbedOrder order, const std::vector<std::string>& texts,
                          std::optional<Result<Embedded>>& answer) {
    Context context;  // named: a temporary here is destroyed twice by g++ 12
    answer = co_await gateway.embed(std::move(order), texts, std::move(context));
}

}  // namespace

Result<Embeddings> ask_provider(const Settings& settings, const ProviderSpec& provider, const std::string& model,
                                std::uint32_t dimensions, const std::vector<std::string>& texts, TextRole role) {
    const SystemClock clock;
    Registry metrics;
    const Tracer tracer(nullptr, clock);
    const Telemetry telemetry{metrics, tracer};
    asio::io_context io(1);
    asio::thread_pool cpu(1);
    const GatewayParts parts{.make = make_embedder_maker(settings, {io.get_executor(), cpu.get_executor(), {}}, clock, telemetry),
                             .db = cpu.get_executor(),
                             .clock = clock,
                             .telemetry = telemetry};
    Gateway gateway(parts, {});
    const std::vector<ProviderSpec> no_peers;
    std::optional<Result<Embedded>> answer;
    std::exception_ptr thrown;
    asio::co_spawn(io, ask(gateway, {provider, no_peers, model, dimensions, role}, texts, answer),
                   [&](const std::exception_ptr& e) {
                       thrown = e;
                       io.stop();  // an idle connection that is kept alive must not keep us
                   });
    io.run();
    cpu.join();
    if (thrown) std::rethrow_exception(thrown);
    if (!answer) return internal_error("the provider's answer got lost");
    if (!*answer) return answer->error();
    Embedded embedded = **std::move(answer);
    if (!embedded.refused.empty()) return embedded.refused.front().error;
    return std::move(embedded.vectors);
}

}  // namespace homeostat
