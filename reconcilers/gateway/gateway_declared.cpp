// The part of the gateway that knows what is declared now, what there is to try again, and what replicas tell each other.
#include <algorithm>
#include <limits>
#include <tuple>

#include "reconcilers/gateway/gateway.hpp"
#include "store/control/erasures.hpp"

namespace homeostat {

namespace {

bool older(const DeclaredProvider& a, const DeclaredProvider& b) {
    return std::tie(a.uid, a.generation) < std::tie(b.uid, b.generation);
}

}  // namespace

bool Gateway::outdated(const ProviderSpec& provider) const {
    const auto newest = newest_.find(provider.name);
    return newest != newest_.end() && older(declaration(provider), newest->second);
}

// Of a name only one declaration is asked. Prefixes or the model itself may be others now.
void Gateway::supersede(const DeclaredProvider& now) {
    const auto [newest, fresh] = newest_.try_emplace(now.name, now);
    if (newest->second == now && !fresh) return;
    newest->second = now;
    bool any = false;
    std::erase_if(channels_, [&](const auto& entry) {
        const bool other = entry.second->provider.name == now.name && declaration(entry.second->provider) != now;
        if (other) entry.second->lane->retire();
        any = any || other;
        return other;
    });
    if (any) cache_.set_version(++declarations_);
}

// What was asked for since `all` was read may be newer than it: only what was the same at two looks is believed against that.
void Gateway::know(const std::vector<DeclaredProvider>& all) {
    const Lock lock(mutex_);
    std::map<std::string, DeclaredProvider> before;
    before.swap(listed_);
    for (const DeclaredProvider& p : all) {
        const auto newest = newest_.find(p.name);
        const auto it = before.find(p.name);
        if (newest == newest_.end() || older(newest->second, p) || (it != before.end() && it->second == p)) supersede(p);
        if (it == before.end() || it->second != p) renewed_.insert(p.name);
        before.erase(p.name);
        listed_[p.name] = p;
    }
    for (auto& [name, gone] : before) {
        gone.generation = std::numeric_limits<std::int64_t>::max();  // of this uid nothing is asked any more
        supersede(gone);
    }
}

void Gateway::allow_probe(const std::string& provider) {
    const Lock lock(mutex_);
    probe(provider);
}

void Gateway::probe(const std::string& provider) {
    for (const auto& [key, channel] : channels_) {
        if (channel->provider.name == provider) channel->lane->allow_probe();
    }
}

std::uint64_t Gateway::renewals(const std::string& provider) const {
    const Lock lock(mutex_);
    const auto it = renewals_.find(provider);
    return it == renewals_.end() ? 0 : it->second;
}

// Of those that are not well, whose secrets are others than those they failed with.
void Gateway::look_at_secrets() {
    std::vector<ChannelPtr> troubled;
    {
        const Lock lock(mutex_);
        for (const auto& [key, channel] : channels_) {
            if (channel->lane->trouble() || channel->lane->blocked()) troubled.push_back(channel);
        }
    }
    for (const ChannelPtr& channel : troubled) {
        if (!channel->embedder->take_renewed()) continue;
        left_.over(declaration(channel->provider));
        const Lock lock(mutex_);
        renewed_.insert(channel->provider.name);
    }
}

// Of those that are not well, whose pipelines somebody has asked to reconcile since the last look.
Status Gateway::look_at_requests(Session& session) {
    std::set<std::string> troubled;
    {
        const Lock lock(mutex_);
        for (const auto& [key, channel] : channels_) {
            if (channel->lane->trouble() || channel->lane->blocked()) troubled.insert(channel->provider.name);
        }
        if (troubled.empty()) {
            requests_.reset();
            return {};
        }
    }
    Result<std::vector<std::pair<std::string, std::string>>> listed = list_requests(session);
    if (!listed) return listed.error();
    std::map<std::string, std::string> now(listed->begin(), listed->end());
    const Lock lock(mutex_);
    if (requests_) {
        for (const auto& [provider, mark] : now) {
            const auto before = requests_->find(provider);
            const bool other = before == requests_->end() || before->second != mark;
            if (other && troubled.contains(provider)) renewed_.insert(provider);
        }
    }
    requests_ = std::move(now);
    return {};
}

Result<std::vector<std::int64_t>> Gateway::look_anew(Session& session) {
    {
        // Whoever has asked nobody has nothing to forget and nothing to try again, but for what an earlier process left.
        const Lock lock(mutex_);
        if (std::exchange(looked_, true) && channels_.empty() && renewed_.empty()) return std::vector<std::int64_t>{};
    }
    Result<std::vector<DeclaredProvider>> declared = list_declared_providers(session);
    if (!declared) return declared.error();
    know(*declared);
    look_at_secrets();
    if (const Status looked = look_at_requests(session); !looked) return looked.error();
    std::set<std::string> renewed;
    {
        const Lock lock(mutex_);
        renewed.swap(renewed_);
        for (const std::string& name : renewed) {
            ++renewals_[name];
            probe(name);
        }
    }
    if (renewed.empty()) return std::vector<std::int64_t>{};
    Result<std::vector<std::int64_t>> failed = release_parked(session, {renewed.begin(), renewed.end()});
    if (failed) return failed;
    const Lock lock(mutex_);
    renewed_.merge(renewed);  // at the next look
    return failed;
}

// What another replica heard first is what it is called.
Status Gateway::share_names(Session& session) {
    std::vector<std::pair<std::string, ChannelPtr>> news;
    {
        const Lock lock(mutex_);
        for (const auto& [key, channel] : channels_) {
            std::string name = declaration_key(declaration(channel->provider)) + "\n" + key;
            if (!named_.contains(name) && !channel->embedder->called().empty()) news.emplace_back(std::move(name), channel);
        }
    }
    for (const auto& [key, channel] : news) {
        const std::string ours = channel->embedder->called();
        Result<std::optional<std::string>> name =
            settle_name(session, declaration(channel->provider), channel->lane->model(), ours);
        if (!name) return name.error();
        if (!*name) continue;  // nothing of it has been written yet
        if (**name != ours) channel->embedder->call_it(**name);
        const Lock lock(mutex_);
        named_.insert(key);
    }
    return {};
}

Result<std::vector<std::int64_t>> Gateway::share(Session& session) {
    shared_.tend(session);
    const Result<std::int64_t> erased = last_erased(session);
    if (!erased) return erased.error();
    if (*erased != std::exchange(erased_, *erased)) {
        // The cache in memory knows hashes and no documents: it forgets all, of which the shared one has what was not erased.
        const Lock lock(mutex_);
        cache_.set_version(++declarations_);
    }
    Result<std::vector<std::int64_t>> failed = look_anew(session);
    if (!failed) return failed;
    if (const Status looked = look_at_others(session); !looked) return looked.error();
    const std::vector<DeclaredProvider> left = left_.all();
    std::vector<ProviderRecord> records;
    std::vector<ChannelPtr> troubled;
    {
        const Lock lock(mutex_);
        for (const auto& [key, channel] : channels_) {
            // That it cannot be asked from here is not how it is.
            if (std::find(left.begin(), left.end(), declaration(channel->provider)) != left.end()) continue;
            if (auto record = channel->lane->take_record(channel->embedder->encoding_found()))
                records.push_back(*std::move(record));
            if (channel->lane->trouble()) troubled.push_back(channel);
        }
    }
    for (const ProviderRecord& record : records) {
        if (const Status written = write_provider_record(session, record, settings_.replica); !written) return written.error();
    }
    if (const Status named = share_names(session); !named) return named.error();
    // Who has failed here and was asked nothing since may have answered another replica.
    if (troubled.empty()) return failed;
    Result<std::vector<ProviderRecord>> known = list_provider_records(session);
    if (!known) return known.error();
    for (const ChannelPtr& channel : troubled) {
        for (const ProviderRecord& record : *known) {
            if (record.uid == channel->provider.uid && record.model == channel->lane->model()) channel->lane->hear_of(record);
        }
    }
    return failed;
}

}  // namespace homeostat
