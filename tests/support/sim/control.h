/*
 * control.h: the endpoints under /_sim/ and the lists of models: what a test says to the provider, and asks it.
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "http.h"
#include "world.h"

/* True when the request is for control or a list; the body is then appended and the status set. */
bool control_answer(World *world, const Request *request, Buf *body, int *ret_status);

#endif
