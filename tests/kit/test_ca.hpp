// A certificate authority that lives as long as the test: its own key, a server certificate for localhost and 127.0.0.1 signed by
// it, and the authority's certificate as a PEM file for clients to trust. Nothing is ever committed or installed.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace homeostat::kit {

struct OpenSslFree {
    void operator()(SSL_CTX* p) const noexcept { SSL_CTX_free(p); }
    void operator()(SSL* p) const noexcept { SSL_free(p); }
    void operator()(X509* p) const noexcept { X509_free(p); }
    void operator()(EVP_PKEY* p) const noexcept { EVP_PKEY_free(p); }
};
template <class T>
using OpenSslPtr = std::unique_ptr<T, OpenSslFree>;

class TestCa {
public:
    // `names` are the subject alternative names of the server, in OpenSSL's notation. Throws where OpenSSL fails.
    explicit TestCa(const std::string& names = "DNS:localhost,IP:127.0.0.1");
    ~TestCa();
    TestCa(const TestCa&) = delete;
    TestCa& operator=(const TestCa&) = delete;

    const std::string& ca_file() const noexcept { return ca_file_; }
    // A certificate of a client, signed by it, and its key; the file of the key holds both.
    const std::string& client_file() const noexcept { return client_file_; }
    const std::string& client_key_file() const noexcept { return client_key_file_; }
    SSL_CTX* server() const noexcept { return server_.get(); }
    // From now on the server lets in only who shows such a certificate.
    void ask_for_clients();

private:
    std::string ca_file_;
    std::string client_file_;
    std::string client_key_file_;
    OpenSslPtr<X509> ca_;
    OpenSslPtr<SSL_CTX> server_;
};

}  // namespace homeostat::kit
