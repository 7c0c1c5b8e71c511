// A coroutine's bell: it waits for a while, and anybody may ring. A ring before the wait is kept. One waiter at a time; wake() is
// safe from any thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

#include "core/clock.hpp"

namespace homeostat {

// All but wake() happens on the strand, so that being woken and beginning to wait cannot cross.
class Wake : public std::enable_shared_from_this<Wake> {
public:
    explicit Wake(const boost::asio::any_io_executor& executor) : strand_(boost::asio::make_strand(executor)), timer_(strand_) {}

    void wake() {
        boost::asio::post(strand_, [self = shared_from_this()] {
            self->woken_ = true;
            self->timer_.cancel();
        });
    }

    // Until woken or `at_most` has passed; resumes on the coroutine's own executor.
    boost::asio::awaitable<void> wait(Duration at_most) {
        const auto self = shared_from_this();
        co_await boost::asio::post(boost::asio::bind_executor(strand_, boost::asio::use_awaitable));
        if (!woken_) {
            timer_.expires_after(at_most);
            co_await timer_.async_wait(boost::asio::bind_executor(strand_, boost::asio::as_tuple(boost::asio::use_awaitable)));
        }
        woken_ = false;
        co_await boost::asio::post(boost::asio::use_awaitable);
    }

private:
    boost::asio::strand<boost::asio::any_io_executor> strand_;
    boost::asio::steady_timer timer_;
    bool woken_ = false;
};

}  // namespace homeostat
