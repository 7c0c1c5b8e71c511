// One migration at a time in a database, whoever else connects to it.
//
// What counts is a lock on homeostat.migration that takes a right which only the owners of the schema have. Where that table is
// not there yet, it is made, and of two who make it the server lets one go on. Programs of versions before this one know an
// advisory lock only, which anybody may take: it is taken too, and waited for where whoever holds it may migrate; of others it is
// passed over. An earlier program and this one that went on beside each other would still do each migration once: its number is
// the key of the table, and all of it is one transaction.
#pragma once

#include <string_view>

#include "store/pg/session.hpp"

namespace homeostat {

// The code of the error where the table was made or dropped by another meanwhile: nothing is done, and what follows may be tried
// again in a new transaction.
inline constexpr std::string_view kLedgerRaced = "LedgerRaced";

// By the catalog's rows, not by name: who waited for another that was migrating would be told from the cache that there is none.
bool ledger_exists(Transaction& tx);
bool ledger_exists(Session& session);

// Held until `tx` ends. Whether the table is there then; it is made where `make` says so. Throws StoreFailure: kLedgerRaced, or
// 55P03 with a sentence that names who holds it, after a minute.
bool lock_migrations(Transaction& tx, bool make);

}  // namespace homeostat
