#include "reconcilers/gateway/embed_now.hpp"

#include <boost/asio/co_spawn.hpp>
#include <future>
#include <optional>

namespace homeostat {

namespace asio = boost::asio;

namespace {

asio::awaitable<void> ask(Gateway& gateway, EmbedOrder order, const std::vector<std::string>& texts, Context context,
                          std::optional<Result<Embedded>>& answer) {
    answer = co_await gateway.embed(std::move(order), texts, std::move(context));
}

}  // namespace

Result<Embedded> embed_now(const asio::any_io_executor& io, Gateway& gateway, EmbedOrder order,
                           const std::vector<std::string>& texts, const Context& context) {
    std::optional<Result<Embedded>> answer;
    std::promise<void> done;
    asio::co_spawn(io, ask(gateway, std::move(order), texts, context, answer), [&done](const std::exception_ptr& thrown) {
        if (thrown) {
            done.set_exception(thrown);
        } else {
            done.set_value();
        }
    });
    done.get_future().get();
    if (!answer) return internal_error("the provider's answer got lost");
    return *std::move(answer);
}

}  // namespace homeostat
