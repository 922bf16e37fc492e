/*
 * openapi.h: the API's description, OpenAPI 3.1, made from the route and field tables.
 */
#ifndef API_OPENAPI_H
#define API_OPENAPI_H

#include "api/route.h"

json_t *openapi_document(void); /* a new reference */

#endif
