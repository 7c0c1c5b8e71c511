#include "controller/cli/ask_provider.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <optional>

#include "controller/embedders.hpp"

namespace homeostat {

namespace asio = boost::asio;

Result<Embeddings> ask_provider(const Settings& settings, const ProviderSpec& provider, const std::string& model,
                                std::uint32_t dimensions, const std::vector<std::string>& texts, TextRole role) {
    const SystemClock clock;
    Registry metrics;
    const Tracer tracer(nullptr, clock);
    const Telemetry telemetry{metrics, tracer};
    asio::io_context io(1);
    asio::thread_pool cpu(1);
    Gateway gateway(make_embedder_maker(settings, io.get_executor(), cpu.get_executor(), clock, telemetry), io.get_executor(),
                    clock, telemetry);
    Result<std::shared_ptr<Embedder>> embedder = gateway.embedder(provider, model, dimensions);
    if (!embedder) return embedder.error();
    std::optional<Result<Embeddings>> answer;
    const Context context;
    const auto ask = [&]() -> asio::awaitable<void> {
        answer = co_await gateway.embed(provider, *embedder, texts, role, context);
    };
    std::exception_ptr thrown;
    asio::co_spawn(io, ask(), [&](const std::exception_ptr& e) {
        thrown = e;
        io.stop();  // an idle connection that is kept alive must not keep us
    });
    io.run();
    cpu.join();
    if (thrown) std::rethrow_exception(thrown);
    if (!answer) return internal_error("the provider's answer got lost");
    return *std::move(answer);
}

}  // namespace homeostat
