// Runs a blocking call on another executor and resumes the coroutine on its own.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <type_traits>

namespace homeostat {

namespace detail {
// The result travels in an optional because a completion's argument has to be default constructible.
template <class F>
boost::asio::awaitable<std::optional<std::invoke_result_t<F>>> call(F f) {
    co_return std::optional<std::invoke_result_t<F>>(f());
}
}  // namespace detail

// What `f` refers to must outlive the await, which it does when it belongs to the awaiting coroutine.
template <class F>
boost::asio::awaitable<std::invoke_result_t<F>> on(boost::asio::any_io_executor executor, F f) {
    std::optional<std::invoke_result_t<F>> result =
        co_await boost::asio::co_spawn(executor, detail::call<F>(std::move(f)), boost::asio::use_awaitable);
    co_return std::move(*result);
}

}  // namespace homeostat
