// Which statements of a session are prepared: those used again before many others came in between.
//
// Every pipeline has statements of its own, and the server keeps a plan for each prepared one, looks at all of them whenever a
// table is made or altered, and never lets go of one by itself. So a statement is sent as text the first time, prepared when it
// comes again, and forgotten when it has not been used for the longest time. Not safe from several threads: it belongs to its
// session.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

class StatementCache {
public:
    // What stays in memory is at most this many statements, here as in the server.
    explicit StatementCache(std::size_t capacity = 384) : capacity_(capacity) {}

    enum class Use { as_text, prepare, prepared };  // prepare: to be prepared now, then as prepared
    struct Advice {
        Use use = Use::as_text;
        std::vector<std::string> forget;  // names that the server is to forget before
    };
    // The statement is about to be used. One whose text changed under its name begins anew.
    Advice use(std::string_view name, std::string_view sql);
    // It could not be prepared.
    void drop(std::string_view name);
    // Its plan is of no use any more: the server is told to forget it at the next use.
    void outdate(std::string_view name);
    // The server has forgotten all of them.
    void clear() noexcept;
    std::size_t size() const noexcept { return entries_.size(); }

private:
    struct Entry {
        std::string sql;
        bool prepared = false;
        std::list<std::string_view>::iterator age;  // names of entries_, the latest used first
    };
    const std::size_t capacity_;
    std::map<std::string, Entry, std::less<>> entries_;
    std::list<std::string_view> ages_;
};

}  // namespace homeostat
