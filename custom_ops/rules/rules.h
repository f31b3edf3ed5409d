// All rules; custom_ops/rules/index.inc names them.
#pragma once
#include "custom_ops/rules/adadelta.h"
#include "custom_ops/rules/adagrad.h"
#include "custom_ops/rules/adam.h"
#include "custom_ops/rules/amsgrad.h"
#include "custom_ops/rules/delta_bar_delta.h"
#include "custom_ops/rules/momentum.h"
#include "custom_ops/rules/nadam.h"
#include "custom_ops/rules/nesterov.h"
#include "custom_ops/rules/rmsprop.h"
#include "custom_ops/rules/sgd.h"
