#include "store/pg/statement_cache.hpp"

namespace homeostat {

StatementCache::Advice StatementCache::use(std::string_view name, std::string_view sql) {
    Advice advice;
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
        const auto added = entries_.emplace(name, Entry{std::string(sql), false, {}}).first;
        added->second.age = ages_.insert(ages_.begin(), added->first);
        if (entries_.size() > capacity_) {
            const auto oldest = entries_.find(ages_.back());
            if (oldest->second.prepared) advice.forget.push_back(oldest->first);
            ages_.pop_back();
            entries_.erase(oldest);
        }
        return advice;
    }
    Entry& entry = found->second;
    ages_.splice(ages_.begin(), ages_, entry.age);
    if (entry.sql != sql) {
        if (entry.prepared) advice.forget.emplace_back(name);
        entry.sql = sql;
        entry.prepared = false;
        return advice;
    }
    advice.use = entry.prepared ? Use::prepared : Use::prepare;
    entry.prepared = true;
    return advice;
}

void StatementCache::drop(std::string_view name) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return;
    ages_.erase(found->second.age);
    entries_.erase(found);
}

void StatementCache::clear() noexcept {
    entries_.clear();
    ages_.clear();
}

void StatementCache::outdate(std::string_view name) {
    if (const auto found = entries_.find(name); found != entries_.end()) found->second.sql.clear();
}

}  // namespace homeostat
