"""Models of several kinds: related, inherited, a proxy."""

from django.contrib.auth.models import User
from django.db import models


class Customer(models.Model):
    """Who orders."""

    name = models.CharField(max_length=50)


class Order(models.Model):
    """An order with a number of the platform's form."""

    number = models.CharField(max_length=30, unique=True)
    status = models.CharField(max_length=20, default="Draft")
    total = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE)
    password = models.CharField(max_length=20, default="")
    note = models.TextField(default="")
    changed = models.DateTimeField(auto_now=True)


class UrgentOrder(Order):
    """The same table under another name."""

    class Meta:
        proxy = True


class Token(models.Model):
    """A token whose primary key is the secret, and which belongs to a user (as in REST framework)."""

    key = models.CharField(max_length=40, primary_key=True)
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE)
