// The part of a batch's way through the gateway that makes requests of its texts, side by side, and shares one with other batches
// where each has less left over than a request may hold.
//
// A shared request is asked for by the job that completes it, in the name of all. It ends where all of them are stopped, and not
// before. Where it fails in a way that a text may be at fault of, each job asks for its own as if it had never been shared: so
// what follows from a failure (cutting, isolation, blame) only ever concerns the texts of one batch.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <iterator>
#include <numeric>
#include <span>

#include "reconcilers/gateway/embed_job.hpp"
#include "reconcilers/gateway/quotes.hpp"
#include "reconcilers/gateway/request_limits.hpp"
#include "reconcilers/gateway/wake.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

// For so long, after all else of its batch was answered, the rest of it is left to wait where other batches come as often.
constexpr Duration kPatience = std::chrono::milliseconds(100);
constexpr Duration kLongWait = std::chrono::hours(1);

// Stops when all that take part are stopped.
class CommonStop {
public:
    void add(const std::stop_token& token) {
        left_->fetch_add(1);
        callbacks_.emplace_back(token, [left = left_, stop = stop_] {
            if (left->fetch_sub(1) == 1) stop->request_stop();
        });
    }
    // All have been added.
    std::stop_token token() {
        if (left_->fetch_sub(1) == 1) stop_->request_stop();
        return stop_->get_token();
    }

private:
    std::shared_ptr<std::atomic<std::size_t>> left_ = std::make_shared<std::atomic<std::size_t>>(1);
    std::shared_ptr<std::stop_source> stop_ = std::make_shared<std::stop_source>();
    std::deque<std::stop_callback<std::function<void()>>> callbacks_;
};

Embeddings rows(const Embeddings& of, std::size_t from, std::size_t count, std::uint64_t tokens) {
    Embeddings out{of.dimensions, {of.row(from), of.row(from + count)}, tokens, of.model, of.provider};
    return out;
}

}  // namespace

std::vector<std::string> EmbedJob::texts_of(const Part& part) const {
    std::vector<std::string> out;
    out.reserve(part.size());
    for (const std::size_t i : part) out.push_back(texts_[i]);
    return out;
}

std::uint64_t EmbedJob::tokens_of(const Part& part) const {
    return std::accumulate(part.begin(), part.end(), std::uint64_t{0},
                           [&](std::uint64_t sum, std::size_t i) { return sum + tokens_[i]; });
}

// How long the last of the rest may still wait for company; zero: no longer.
Duration EmbedJob::company_in(const Pending& pending) const {
    if (failed_ || context_.stop.stop_requested() || !pending.begun) return Duration{};
    if (pending.under_way > 0) return kLongWait;  // whoever is answered last rings
    const SteadyTime now = gateway_.parts_.clock.steady_now();
    const SteadyTime until = std::min(pending.ended_at, channels_.front()->remainders->others_asked(this)) + kPatience;
    return until > now ? until - now : Duration{};
}

EmbedJob::Request EmbedJob::take(Pending& pending, const std::shared_ptr<Wake>& bell) const {
    const RequestRoom most = sizes();
    Request out;
    const Lock lock(pending.mutex);
    const std::span<const std::size_t> rest = std::span<const std::size_t>(pending.rest).subspan(pending.next);
    if (!pending.parts.empty()) {
        out.own = std::move(pending.parts.front());
        pending.parts.pop_front();
    } else if (!rest.empty() && pending.sharing == Sharing::no) {
        const std::span<const std::size_t> head = rest.first(std::min<std::size_t>(most.texts, rest.size()));
        out.own = std::move(cut_requests(head, tokens_, most.texts, most.tokens).front());
        pending.next += out.own.size();
    } else if (!rest.empty()) {
        out = share(rest, most, company_in(pending) > Duration{}, bell);
        pending.next += out.own.size();
    }
    if (out.own.empty()) return out;
    pending.begun = true;
    if (out.offered) {
        pending.waits = bell;
    } else {
        ++pending.under_way;
    }
    return out;
}

EmbedJob::Request EmbedJob::share(std::span<const std::size_t> rest, RequestRoom most, bool may_wait,
                                  const std::shared_ptr<Wake>& bell) const {
    std::vector<const void*> channels;
    for (const ChannelPtr& c : channels_) channels.push_back(c.get());
    std::vector<std::uint64_t> tokens;
    tokens.reserve(rest.size());
    for (const std::size_t i : rest) tokens.push_back(tokens_[i]);
    Request out;
    Remainders::Cut cut =
        channels_.front()->remainders->cut({this, channels, tokens, most, may_wait, gateway_.parts_.clock.steady_now()}, [&] {
            const Part all(rest.begin(), rest.end());
            out.offered =
                std::make_shared<Remainder>(channels, texts_of(all), tokens_of(all), context_, [bell] { bell->wake(); });
            return out.offered;
        });
    const std::size_t own = out.offered ? rest.size() : cut.own;
    out.own.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(own));
    out.others = std::move(cut.others);
    return out;
}

// Of all providers of the pool: each takes its share.
std::size_t EmbedJob::most_at_once() const {
    std::size_t most = 0;
    for (const ChannelPtr& c : channels_) most += c->provider.max_in_flight;
    return std::max<std::size_t>(1, most);
}

void EmbedJob::end_request(Pending& pending) const {
    const Lock lock(pending.mutex);
    if (pending.under_way > 0) --pending.under_way;
    if (pending.under_way == 0) pending.ended_at = gateway_.parts_.clock.steady_now();
    if (pending.waits && (pending.under_way == 0 || failed_)) pending.waits->wake();
}

asio::awaitable<void> EmbedJob::solve_pending(Status& out, std::shared_ptr<Pending> pending, std::function<void()> done) {
    try {
        const auto bell = std::make_shared<Wake>(co_await asio::this_coro::executor);
        for (Request r = take(*pending, bell); out && !r.own.empty(); r = out ? take(*pending, bell) : Request{}) {
            if (r.offered) {
                out = co_await solve_offered(*pending, std::move(r), bell);
            } else {
                out = co_await solve_together(std::move(r.own), std::move(r.others));
                if (!out) failed_ = true;
                end_request(*pending);
            }
        }
        if (!out) failed_ = true;
    } catch (const std::exception& e) {
        out = internal_error(e.what());
        failed_ = true;
        end_request(*pending);  // whoever waits for it waits no longer
    }
    done();
}

// As many as may be in flight at a time, and each is cut when the one before it was answered: what that has taught, of limits or
// of the time that answers take, holds for all that is left. All have ended when this returns.
asio::awaitable<Status> EmbedJob::solve_all(std::vector<Part> parts, Part rest, Sharing sharing) {
    const std::size_t requests = parts.size() + (rest.empty() ? 0 : cut(rest).size());
    if (requests == 0) co_return Status{};
    const auto pending = std::make_shared<Pending>();
    {
        const Lock lock(pending->mutex);
        pending->parts.assign(std::make_move_iterator(parts.begin()), std::make_move_iterator(parts.end()));
        pending->begun = rest.size() < texts_.size();
        pending->rest = std::move(rest);
        if (order_.role == TextRole::document && !order_.urgent && channels_.front()->remainders) pending->sharing = sharing;
    }
    std::vector<Status> outcomes(std::min(requests, most_at_once()));
    if (outcomes.size() == 1) {
        co_await solve_pending(outcomes.front(), pending, [] {});
        co_return std::move(outcomes.front());
    }
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    const auto bell = std::make_shared<Wake>(executor);
    const auto left = std::make_shared<std::atomic<std::size_t>>(outcomes.size());
    for (Status& outcome : outcomes) {
        std::function<void()> done = [bell, left] {
            if (left->fetch_sub(1) == 1) bell->wake();
        };
        asio::co_spawn(executor, solve_pending(outcome, pending, std::move(done)), asio::detached);
    }
    while (left->load() > 0) co_await bell->wait(kLongWait);
    for (Status& outcome : outcomes) {
        if (!outcome && outcome.error().cls != ErrorClass::cancelled) co_return std::move(outcome);
    }
    for (Status& outcome : outcomes) {
        if (!outcome) co_return std::move(outcome);
    }
    co_return Status{};
}

asio::awaitable<Status> EmbedJob::solve_offered(Pending& pending, Request request, std::shared_ptr<Wake> bell) {
    const std::stop_callback on_stop(context_.stop, [bell] { bell->wake(); });
    for (;;) {
        if (std::optional<RemainderEnd> end = request.offered->take_end()) {
            note_wasted(end->wasted, order_.provider.uid);
            if (!end->answer) co_return co_await solve(std::move(request.own));
            if (!*end->answer) co_return std::move(*end->answer).error();
            co_await take_in(request.own, **end->answer);
            co_return Status{};
        }
        Duration left{};
        {
            const Lock lock(pending.mutex);
            left = company_in(pending);
            if (left <= Duration{} && channels_.front()->remainders->withdraw(request.offered)) {
                pending.next -= request.own.size();
                co_return Status{};
            }
        }
        co_await bell->wait(left > Duration{} ? left : kLongWait);
    }
}

// With what others have left over. How it fails decides whether it is anybody's own fault.
asio::awaitable<Status> EmbedJob::solve_together(Part own, TakenRemainders others) {
    if (others.empty() || failed_) {
        others.let_go();
        co_return co_await solve(std::move(own));
    }
    std::vector<std::string> texts = texts_of(own);
    CommonStop stop;
    Context context = context_;
    stop.add(context_.stop);
    for (const RemainderPtr& r : others.all()) {
        texts.insert(texts.end(), r->texts().begin(), r->texts().end());
        stop.add(r->context().stop);
        context.deadline = std::max(context.deadline, r->context().deadline);
    }
    context.stop = stop.token();
    EmbedOrder order = order_;
    order.pipeline = 0;  // each job keeps its own for its own
    Part all(texts.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    EmbedJob shared(gateway_, channels_, std::move(order), texts, std::move(context));
    for (const RemainderPtr& r : others.all()) shared.links_.push_back(r->context().span);
    Asked asked = co_await shared.call(all, true);
    std::uint64_t wasted = 0;
    {
        const Lock lock(shared.mutex_);
        wasted = shared.spent_.wasted;
    }
    const std::vector<std::uint64_t> wastes = shares_of(wasted, weights(own, others));
    note_wasted(wastes.front(), asked.channel ? asked.channel->provider.uid : order_.provider.uid);
    if (asked.answer) {
        Embeddings mine = hand_out(own, others, *asked.answer);
        co_await take_in(own, mine);
        co_return Status{};
    }
    const Error error = without_quotes(std::move(asked.answer).error(), texts);
    const bool alone = !asked.channel || error.cls == ErrorClass::internal || error.cls == ErrorClass::cancelled ||
                       may_be_a_text(error, asked.channel->lane->has_answered());
    for (std::size_t i = 0; i < others.all().size(); ++i) {
        others.all()[i]->end({alone ? std::nullopt : std::optional<Result<Embeddings>>(error), wastes[i + 1]});
    }
    if (!alone) co_return error;
    co_return co_await solve(std::move(own));
}

// By their place in the answer, and of what it cost each its share.
Embeddings EmbedJob::hand_out(const Part& own, const TakenRemainders& others, const Embeddings& answer) const {
    const std::vector<std::uint64_t> tokens = shares_of(answer.tokens, weights(own, others));
    std::size_t at = own.size();
    for (std::size_t i = 0; i < others.all().size(); ++i) {
        Remainder& r = *others.all()[i];
        r.end({rows(answer, at, r.texts().size(), tokens[i + 1]), 0});
        at += r.texts().size();
    }
    return rows(answer, 0, own.size(), tokens.front());
}

std::vector<std::uint64_t> EmbedJob::weights(const Part& own, const TakenRemainders& others) const {
    std::vector<std::uint64_t> out{tokens_of(own)};
    for (const RemainderPtr& r : others.all()) out.push_back(r->tokens());
    return out;
}

asio::awaitable<void> EmbedJob::take_in(const Part& own, const Embeddings& answer) {
    place(own, answer);
    co_await gateway_.keep_shared(order_, texts_of(own), answer);
}

}  // namespace homeostat
