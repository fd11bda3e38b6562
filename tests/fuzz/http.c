/*
 * HTTP requests: in whatever pieces they come, the same is read; nothing beyond the request is taken, nothing beyond the limits kept. The
 * first byte is the size of the pieces.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sync/serve/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t feed(struct http_request *r, const char *text, size_t len, size_t step)
{
        size_t at = 0;

        http_request_begin(r);
        while (at < len && r->state != HTTP_WHOLE && r->state != HTTP_REFUSED) {
                size_t n = len - at < step ? len - at : step;
                size_t taken = http_request_take(r, text + at, n);

                if (taken > n || (taken < n && r->state != HTTP_WHOLE && r->state != HTTP_REFUSED))
                        abort();
                at += taken;
        }
        return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct http_request whole, pieces;
        const char *text = (const char *)data + 1;
        size_t used;

        if (size < 1)
                return 0;
        used = feed(&whole, text, size - 1, size);
        if (feed(&pieces, text, size - 1, data[0] ? data[0] : 1) != used || whole.state != pieces.state || whole.status != pieces.status ||
            whole.why != pieces.why || whole.body_len > HTTP_BODY_MAX)
                abort();
        if (whole.state == HTTP_REFUSED && (!whole.why || whole.status < 400 || whole.keep))
                abort();
        if (whole.state == HTTP_WHOLE && (whole.keep != pieces.keep || whole.from_docker != pieces.from_docker || whole.target[0] != '/' ||
                                          strcmp(whole.target, pieces.target) != 0 || whole.body_len != pieces.body_len ||
                                          memcmp(whole.body, pieces.body, whole.body_len + 1) != 0 || whole.body[whole.body_len] != '\0'))
                abort();
        return 0;
}
