"""A stand-in for your models."""

from django.db import models


class Order(models.Model):
    """An order; its number is the id that the Audit API knows."""

    number = models.CharField(max_length=30, unique=True)
    status = models.CharField(max_length=20, default="Processing")


class Cancellation(models.Model):
    """Each one is on record, wherever it is made: see MODELS in the settings."""

    order_number = models.CharField(max_length=30)
