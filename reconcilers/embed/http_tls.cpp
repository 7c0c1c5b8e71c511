#include "reconcilers/embed/http_tls.hpp"

#include <fmt/core.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/ssl/error.hpp>

namespace homeostat {

namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

Status show_certificate(ssl::context& tls, const HttpClientOptions& options) {
    const std::string& certificate = options.client_certificate;
    if (certificate.empty()) return {};
    const std::string& key = options.client_key.empty() ? certificate : options.client_key;
    error_code ec;
    // A key with a passphrase would have it asked for on the terminal.
    tls.set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, ec);
    tls.use_certificate_chain_file(certificate, ec);
    if (ec) {
        return invalid(
            fmt::format("the client certificate {} cannot be used ({}); it must be a readable PEM file with the "
                        "certificate, and those between it and its CA behind it",
                        certificate, ec.message()));
    }
    tls.use_private_key_file(key, ssl::context::pem, ec);
    if (ec) {
        return invalid(
            fmt::format("the client key {} cannot be used ({}); it must be a readable PEM file with the key of the "
                        "certificate {}, without a passphrase",
                        key, ec.message(), certificate));
    }
    return {};
}

}  // namespace

Status set_up_tls(ssl::context& tls, const HttpClientOptions& options) {
    SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
    error_code ec;
    tls.set_verify_mode(ssl::verify_peer, ec);
    const std::string& ca = options.ca_file;
    if (!ca.empty()) tls.load_verify_file(ca, ec);
    if (!ca.empty() && ec) {
        return invalid(fmt::format("the CA file {} cannot be used ({}); it must be a readable PEM file with certificates", ca,
                                   ec.message()));
    }
    return show_certificate(tls, options);
}

bool asks_who_we_are(const error_code& ec) noexcept {
    if (ec.category() != boost::asio::error::get_ssl_category()) return false;
    switch (ERR_GET_REASON(static_cast<unsigned long>(ec.value()))) {
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:  // whoever signed it only bears the name of one that is known
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED: return true;
        default: return false;
    }
}

}  // namespace homeostat
