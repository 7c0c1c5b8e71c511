#include "tests/kit/test_ca.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace homeostat::kit {

namespace {

void must(bool fine, const char* what) {
    if (!fine) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

OpenSslPtr<EVP_PKEY> new_key() {
    OpenSslPtr<EVP_PKEY> key(EVP_EC_gen("P-256"));
    must(key != nullptr, "no key");
    return key;
}

void extend(X509* cert, X509* issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    must(extension != nullptr && X509_add_ext(cert, extension, -1) == 1, "no extension");
    X509_EXTENSION_free(extension);
}

OpenSslPtr<X509> certificate(const char* name, long serial, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                             const std::string& names) {
    OpenSslPtr<X509> cert(X509_new());
    X509_set_version(cert.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert.get()), 24 * 3600);
    X509_set_pubkey(cert.get(), key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
    X509* signer = issuer == nullptr ? cert.get() : issuer;
    X509_set_issuer_name(cert.get(), X509_get_subject_name(signer));
    if (issuer == nullptr) {
        extend(cert.get(), signer, NID_basic_constraints, "critical,CA:TRUE");
        extend(cert.get(), signer, NID_key_usage, "critical,keyCertSign,cRLSign");
    } else {
        extend(cert.get(), signer, NID_subject_alt_name, names.c_str());
    }
    must(X509_sign(cert.get(), issuer_key, EVP_sha256()) > 0, "not signed");
    return cert;
}

std::string write_pem(X509* cert, EVP_PKEY* key = nullptr) {
    std::string path = (std::filesystem::temp_directory_path() / "homeostat-test-ca-XXXXXX").string();
    const int fd = ::mkstemp(path.data());
    must(fd >= 0, "no temporary file");
    std::FILE* file = ::fdopen(fd, "w");
    must(PEM_write_X509(file, cert) == 1, "no PEM");
    if (key != nullptr) must(PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr) == 1, "no PEM of the key");
    std::fclose(file);
    return path;
}

}  // namespace

TestCa::TestCa(const std::string& names) : server_(SSL_CTX_new(TLS_server_method())) {
    const auto ca_key = new_key();
    const auto key = new_key();
    ca_ = certificate("homeostat test CA", 1, ca_key.get(), nullptr, ca_key.get(), names);
    const auto cert = certificate("homeostat test server", 2, key.get(), ca_.get(), ca_key.get(), names);
    must(SSL_CTX_use_certificate(server_.get(), cert.get()) == 1, "certificate refused");
    must(SSL_CTX_use_PrivateKey(server_.get(), key.get()) == 1, "key refused");
    ca_file_ = write_pem(ca_.get());
    const auto client_key = new_key();
    const auto client = certificate("homeostat test client", 3, client_key.get(), ca_.get(), ca_key.get(), "DNS:client");
    client_file_ = write_pem(client.get());
    client_key_file_ = write_pem(client.get(), client_key.get());
}

void TestCa::ask_for_clients() {
    must(X509_STORE_add_cert(SSL_CTX_get_cert_store(server_.get()), ca_.get()) == 1, "CA refused");
    SSL_CTX_set_verify(server_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

TestCa::~TestCa() {
    for (const std::string& file : {ca_file_, client_file_, client_key_file_}) ::unlink(file.c_str());
}

}  // namespace homeostat::kit
