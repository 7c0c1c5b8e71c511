#include "controller/background_threads.hpp"

#include <sys/resource.h>

#include <barrier>
#include <boost/asio/post.hpp>
#include <memory>

namespace homeostat {

namespace {

// What nice(1) gives to work in the background: a tenth of what a thread of usual priority gets beside it (sched(7): each step is
// a factor of 1.25).
constexpr int kNice = 10;

}  // namespace

void give_way(const boost::asio::any_io_executor& pool, unsigned threads) {
    // All of them meet, so that none takes the task of another. On Linux a priority is the calling thread's.
    const auto all = std::make_shared<std::barrier<>>(static_cast<std::ptrdiff_t>(threads) + 1);
    for (unsigned i = 0; i < threads; ++i) {
        boost::asio::post(pool, [all] {
            if (getpriority(PRIO_PROCESS, 0) < kNice) setpriority(PRIO_PROCESS, 0, kNice);
            all->arrive_and_wait();
        });
    }
    all->arrive_and_wait();
}

}  // namespace homeostat
