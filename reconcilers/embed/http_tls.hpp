// What the HTTP client's side of TLS is: whom it trusts, and who it says it is. For http_client.cpp only.
#pragma once

#include <boost/asio/ssl/context.hpp>

#include "core/error.hpp"
#include "reconcilers/embed/http_client.hpp"

namespace homeostat {

// The system's certificates are left to whoever needs them: they take a tenth of a second to read.
Status set_up_tls(boost::asio::ssl::context& tls, const HttpClientOptions& options);

// Whether the other side ended a connection because it does not accept who we are, or that we do not say it.
bool asks_who_we_are(const boost::system::error_code& ec) noexcept;

}  // namespace homeostat
