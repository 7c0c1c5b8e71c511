// What a session is told when it begins, and the second login by which sources are read. For session.cpp only.
#pragma once

#include <memory>
#include <string_view>

#include "store/pg/flight.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

std::string_view begin_of(TxMode mode);
ConnectionOptions connection_of(const ConnectOptions& o);
// Sets all that is pinned: for the session where the server's number is `pid`, else for the transaction.
Flight::Call pin_settings(const ConnectOptions& o, int pid);

inline constexpr std::string_view kReaderRefused = "ReaderRefused";

// That login, for the database of `tx`. Throws StoreFailure: it cannot log in, it is elsewhere, or may do more than read. That is
// the trouble of those whom it reads for (kSourceFailed), unless the server of `tx` is gone too.
std::unique_ptr<Session> connect_reader(Transaction& tx, SourceReader reader);
// What the reader's statement failed with, as a person would have it.
Error of_reader(Error e);

}  // namespace homeostat
