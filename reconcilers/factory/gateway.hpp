// The only way to a provider: splits texts into requests the provider takes, and keeps the requests in flight within its limit.
// Safe from any thread; suspends rather than blocks.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/context.hpp"
#include "core/resource.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

// Makes the embedder of a provider row; the one place that knows the kinds (wired by the controller).
using EmbedderMaker = std::function<Result<std::shared_ptr<Embedder>>(const ProviderSpec& provider, const std::string& model,
                                                                      std::uint32_t dimensions)>;

class Gateway {
public:
    Gateway(EmbedderMaker make, boost::asio::any_io_executor io, const Clock& clock, Telemetry telemetry);
    ~Gateway();

    // The embedder for this provider at this generation; made once and shared.
    Result<std::shared_ptr<Embedder>> embedder(const ProviderSpec& provider, const std::string& model, std::uint32_t dimensions)
        EXCLUDES(mutex_);

    // One vector a text, in order, whatever their number. The first request that fails ends it: half an answer is none.
    boost::asio::awaitable<Result<Embeddings>> embed(const ProviderSpec& provider, std::shared_ptr<Embedder> embedder,
                                                     const std::vector<std::string>& texts, TextRole role,
                                                     const Context& context);

private:
    class Slots;
    struct Entry {
        std::int64_t generation = 0;
        std::shared_ptr<Embedder> embedder;
    };
    std::shared_ptr<Slots> slots_of(const ProviderSpec& provider, std::uint32_t width) EXCLUDES(mutex_);

    const EmbedderMaker make_;
    const boost::asio::any_io_executor io_;
    const Clock& clock_;
    Telemetry telemetry_;
    Mutex mutex_;
    std::map<std::string, Entry> embedders_ GUARDED_BY(mutex_);
    std::map<std::string, std::shared_ptr<Slots>> slots_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
