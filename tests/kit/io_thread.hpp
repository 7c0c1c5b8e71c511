// An executor with its own thread for tests of coroutines: run() starts one on it and waits for what it returns.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace homeostat::kit {

class IoThread {
public:
    explicit IoThread(int threads = 1) : guard_(context_.get_executor()) {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { context_.run(); });
    }
    ~IoThread() {
        guard_.reset();
        context_.stop();
        for (auto& t : threads_) t.join();
    }
    IoThread(const IoThread&) = delete;
    IoThread& operator=(const IoThread&) = delete;

    boost::asio::io_context::executor_type executor() { return context_.get_executor(); }

    template <class T>
    std::future<T> start(boost::asio::awaitable<T> work) {
        auto promise = std::make_shared<std::promise<T>>();
        auto future = promise->get_future();
        boost::asio::co_spawn(context_, fulfil(std::move(work), std::move(promise)), boost::asio::detached);
        return future;
    }
    template <class T>
    T run(boost::asio::awaitable<T> work) {
        return start(std::move(work)).get();
    }

private:
    // asio::use_future would ask for a default constructor, which Result<T> has not.
    template <class T>
    static boost::asio::awaitable<void> fulfil(boost::asio::awaitable<T> work, std::shared_ptr<std::promise<T>> promise) {
        try {
            promise->set_value(co_await std::move(work));
        } catch (...) {
            promise->set_exception(std::current_exception());
        }
    }

    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
    std::vector<std::thread> threads_;
};

}  // namespace homeostat::kit
