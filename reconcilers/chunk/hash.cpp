#include "reconcilers/chunk/hash.hpp"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <stdexcept>

namespace homeostat {

// The algorithm is looked up once: OpenSSL 3 takes as long to find it as to hash a kilobyte.
std::string chunk_hash(std::string_view text) {
    static const EVP_MD* const kSha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    std::string out(SHA256_DIGEST_LENGTH, '\0');
    if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr, kSha256, nullptr) != 1)
        throw std::runtime_error("OpenSSL has no SHA-256");
    return out;
}

}  // namespace homeostat
